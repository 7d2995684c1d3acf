"""The command that retrains and tests architectures."""
