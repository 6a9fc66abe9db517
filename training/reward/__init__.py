"""Train your own reward model: a preference head or a CLIP, fine-tuned on pairs and registered as a scorer."""
