"""The service around the detector itself: the boxes over HTTP are those that the predictor gives."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np

from experiments.lung_detector.predictor import Predictor
from tests.service.files import dicom, slice_hu, slice_png
from tests.service.server import KEY, Server
from tests.test_lung_predictor import folder as detector  # noqa: F401  a fixture

THRESHOLD = 0.002


def test_the_boxes_are_the_predictors(detector: Path, tmp_path: Path) -> None:  # noqa: F811
    (expected,) = Predictor.load(detector, THRESHOLD).predict([slice_hu().astype(np.float32)], "hu")
    assert len(expected.labels) > 0
    server = Server(tmp_path, "--threshold", str(THRESHOLD), model=str(detector))
    try:
        url, headers = f"{server.url}/predict", {"X-API-Key": KEY, "Accept": "application/json"}
        answer = httpx.post(url, files={"file": dicom()}, headers=headers, timeout=200)
        answered = answer.json()["detections"]
        np.testing.assert_allclose([one["box"] for one in answered], expected.boxes_N4, atol=1e-3)
        np.testing.assert_allclose([one["score"] for one in answered], expected.scores_N, atol=1e-5)
        assert tuple(one["label"] for one in answered) == expected.labels
        del headers["Accept"]
        answer = httpx.post(url, files={"file": slice_png()}, headers=headers, timeout=200)
        assert answer.headers["content-type"] == "image/png"
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()
