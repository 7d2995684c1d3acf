"""The other commands of `voxnas`."""
