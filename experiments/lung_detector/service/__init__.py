"""The lung-tumour detector as an HTTP service: see docs/how-to/serve-a-detector.md."""
