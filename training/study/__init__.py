"""Studies: several recipes and controls compared at an equal budget by judges that took no part in the selection."""
