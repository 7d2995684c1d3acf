"""Lung screening in two stages, and a third by a searched network: lungs, nodule candidates, malignancy."""
