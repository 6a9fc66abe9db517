"""Losses as pure functions of per-sample errors; no model and no data in here."""
