"""Subsets as folders that trainers read: Pick-a-Pic Parquet, Hugging Face datasets, JSON lines, WebDataset and lists of
ids, each with a card, Croissant metadata and a manifest. Selects nothing and changes no image."""
