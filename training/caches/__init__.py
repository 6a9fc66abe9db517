"""What is computed once and kept on this machine's disk: latents, text states, reference errors, CLIP vectors."""
