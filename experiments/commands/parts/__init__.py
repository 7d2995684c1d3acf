"""Lists of the parts that are installed: spaces, strategies, evaluators, tasks and data sets, with their sources."""
