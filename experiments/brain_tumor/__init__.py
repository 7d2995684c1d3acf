"""Brain tumours (BraTS) from end to end: train a network, segment subjects on their own grid, score regions."""
