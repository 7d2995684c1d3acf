"""The lung-tumour detector as an HTTP service: see docs/service.md."""
