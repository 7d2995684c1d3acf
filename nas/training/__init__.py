"""The one training loop, for search and for retraining."""
