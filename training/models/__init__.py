"""The diffusion models that Pairsieve trains, one module per architecture."""
