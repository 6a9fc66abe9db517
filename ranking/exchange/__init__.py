"""Scores that come from elsewhere, and go elsewhere, as tables."""
