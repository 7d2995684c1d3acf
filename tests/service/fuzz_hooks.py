"""SCHEMATHESIS_HOOKS=tests.service.fuzz_hooks: what Schemathesis sends where the API asks for a file."""

from __future__ import annotations

import io

import numpy as np
import schemathesis
from hypothesis import strategies as st
from PIL import Image


def png(height: int, width: int, seed: int) -> bytes:
    file = io.BytesIO()
    grey = np.random.default_rng(seed).integers(0, 255, (height, width)).astype(np.uint8)
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


pngs = st.builds(png, st.integers(32, 80), st.integers(32, 80), st.integers(0, 9))
schemathesis.openapi.media_type("image/png", pngs)
schemathesis.openapi.media_type("application/dicom", pngs)
schemathesis.openapi.format("binary", pngs)
