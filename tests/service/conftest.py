"""Fixtures of the service, shared with its neighbours."""

from hypothesis import settings
from service_factory import empty, site

__all__ = ["empty", "site"]

# How long one example takes says something about the machine, nothing about the code.
settings.register_profile("service", deadline=None)
settings.load_profile("service")
