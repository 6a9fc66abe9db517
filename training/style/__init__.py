"""Style alignment: a style as preference, and how near to it a tuned model comes."""
