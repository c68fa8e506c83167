"""Move a face as another one moves, or as named units say."""
