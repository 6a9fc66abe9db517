"""What people say against a pair or an image: marks on pairs and take-downs of images, as records that are only ever
added. Decides nothing about recipes."""
