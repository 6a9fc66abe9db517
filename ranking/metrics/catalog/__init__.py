"""The metrics that come with Pairsieve, by where they come from."""
