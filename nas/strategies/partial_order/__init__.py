"""Partial-order pruning."""
