"""Bodies of the two commands, baselines and tables."""
