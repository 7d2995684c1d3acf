"""Retraining of architectures on the folds of a split, and tables of the results."""
