"""What need not be computed again: latents, text states and the reference's errors, on disk."""
