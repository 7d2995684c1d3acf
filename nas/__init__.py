"""VoxNAS: neural architecture search for 3D medical images."""
