"""From recipe to an immutable subset of pairs."""
