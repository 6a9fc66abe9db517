"""Did the run help? Its model and its base draw the same prompts from the same seeds, and judges compare."""
