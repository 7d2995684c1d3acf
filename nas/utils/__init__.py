"""Helpers without knowledge of the domain: files, processes, lazy imports."""
