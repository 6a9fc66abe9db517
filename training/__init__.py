"""Subset to run to evaluation: Diffusion-DPO on a curated subset, and whether it helped."""
