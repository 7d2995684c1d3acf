"""The lung-tumour detector: preparation of DICOM series with boxes, training, prediction, service."""
