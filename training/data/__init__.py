"""What training sees and when: the pairs of a pinned subset, their order, and what is drawn for each visit."""
