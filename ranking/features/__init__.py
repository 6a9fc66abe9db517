"""Per-pair values derived from scores and labels."""
