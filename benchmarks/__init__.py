"""Measurements, not tests: ratios taken side by side in one run, because machines are shared and noisy."""
