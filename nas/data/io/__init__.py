"""Readers of image and table files."""
