"""What this machine has, and which scorers can run on it at which rate."""
