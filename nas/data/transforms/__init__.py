"""Changes of volumes: crops, intensities, augmentation."""
