"""Metrics of predictions, their names, and intervals by bootstrap."""
