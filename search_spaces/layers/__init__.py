"""Layers that search spaces share."""
