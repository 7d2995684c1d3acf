"""The lung-tumour detector, end to end: data, training, service."""
