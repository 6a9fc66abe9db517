"""The scorers that come with Pairsieve, as data: one module a family, with its `SPECS`. Nothing here loads torch."""
