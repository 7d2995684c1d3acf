"""Trained networks as ONNX and OpenVINO files."""
