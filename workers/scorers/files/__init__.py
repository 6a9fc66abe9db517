"""Files of weights: where they come from, what fixes them, and how they are fetched."""
