"""Toyworld: a small procedural world whose truth is known, written in the schema of the real data."""
