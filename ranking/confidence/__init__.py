"""Label confidence: how likely a pair's human label is right, given everything else that is known of the pair."""
