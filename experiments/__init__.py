"""The commands of VoxNAS: configuration, bodies of search and training, tables, and three applications."""
