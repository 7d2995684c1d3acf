"""Prediction with exported networks, without torch."""
