"""Exported networks in use. Needs no torch: numpy and onnxruntime or OpenVINO, and the readers of image files."""
