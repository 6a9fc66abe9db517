"""Quality metrics: features of a pair → one number, higher is better. Not which pairs are taken."""
