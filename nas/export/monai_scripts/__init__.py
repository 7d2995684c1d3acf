"""Scripts of an exported MONAI bundle, copied into it unchanged; they need MONAI and numpy, but not VoxNAS."""
