"""Fixtures of the service, shared with its neighbours."""

from service_factory import empty, site

__all__ = ["empty", "site"]
