"""Explanations of classifications: maps of the voxels that a decision rests on, and their sanity check."""
