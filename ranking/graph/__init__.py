"""What the labels say about each other: computed from a dataset alone, without any scorer."""
