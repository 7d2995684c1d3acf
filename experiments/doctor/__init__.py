"""Checks of an installation and of a machine, by the standard library alone."""
