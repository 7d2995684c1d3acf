"""Simple models that a network is compared with."""
