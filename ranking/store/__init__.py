"""Where truth lives: immutable files and put-if-absent markers under one root."""
