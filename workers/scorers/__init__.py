"""Scorers: models that give one number to an (image, prompt)."""
