"""Volumes in one HDF5 form, whatever they came from; splits; augmentation on the device."""
