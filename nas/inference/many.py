"""Prediction of many cases: finished ones are kept, and a damaged one does not end the others. Needs no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.transforms.preparation import Prepared
from nas.errors import NASError, first_line
from nas.inference.cases import Case
from nas.inference.predict import answer, classes_of, decision_of, member_predictions, predict_file, write_labels
from nas.inference.record import Record, volume_digest
from nas.inference.runtime import InferenceNetwork
from nas.inference.uncertainty import spread_of_classes, volume_rows, volumes_of, write_maps
from nas.utils.hashing import digest, file_digest

Prediction = Callable[[Case, Path | None], Mapping[str, Any]]  # writes the output, if there is one; JSON values
FAULTS = (NASError, RuntimeError, ValueError, MemoryError, EOFError)  # of readers and runtimes on one input


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case.

    Attributes:
        case: The case.
        output: Its own file, None if it has none.
        result: JSON values of the prediction; None if it failed.
        error: Why it failed; None if it did not.
        seconds: Duration.
        kept: Whether it was finished before.
    """

    case: Case
    output: Path | None
    result: Mapping[str, Any] | None
    error: NASError | None
    seconds: float
    kept: bool = False


def predict_cases(
    cases: Sequence[Case], outputs: Sequence[Path | None], predict: Prediction, record: Record | None
) -> Iterator[Outcome]:
    """Predict cases one by one.

    Args:
        cases: The cases.
        outputs: The file of each case; None where the result itself is the output.
        predict: Predicts a case and writes its file.
        record: Finished cases, which are not predicted again; None to predict all.

    Yields:
        The outcome of each case, in order.

    Raises:
        OSError: If an output cannot be written.
    """
    for case, output in zip(cases, outputs, strict=True):
        started = time.perf_counter()
        try:
            case.require_files()
            inputs = digest([list(map(volume_digest, case.paths)), case.point_mm])
            result = None if record is None else record.result(case.name, inputs, output)
            kept = result is not None
            if result is None:
                if record is not None:
                    record.start(output)
                result = predict(case, output)
                if record is not None:
                    record.add(case.name, inputs, output, result)
            yield Outcome(case, output, result, None, time.perf_counter() - started, kept)
        except FAULTS as error:
            yield Outcome(case, output, None, _fault(case, error), time.perf_counter() - started)


def labels_or_classes(networks: Sequence[InferenceNetwork], uncertainty: bool = False) -> Prediction:
    """Return the prediction of a segmentation or a classification.

    Args:
        networks: Networks that `require_alike` accepts.
        uncertainty: Whether to measure how far the networks differ: with a label map, maps are written beside it.

    Returns:
        A function that writes the label map of a case and returns the share of each class, or returns class and
        probabilities. The class is the most probable one, or that of the networks' decision threshold.
    """
    classes, (threshold, positive) = classes_of(networks[0]), decision_of(networks)

    def predict(case: Case, output: Path | None) -> Mapping[str, Any]:
        if uncertainty:
            found, ready = member_predictions(networks, case.paths, case.point_mm)
            prob_MK = np.stack([ready.on_whole_grid(prob_K) for prob_K in found])
            prob = prob_MK.mean(axis=0)
        else:
            prob, ready = predict_file(networks, case.paths, case.point_mm)
        if output is not None:
            shares = write_labels(output, prob, ready, case.paths[0])
            more = _uncertain(case, output, prob_MK, ready) if uncertainty else {}
            return {"shares": {classes[int(number)]: share for number, share in shares.items()}, **more}
        probabilities = {name: round(float(p), 6) for name, p in zip(classes, prob, strict=True)}
        chosen: dict[str, str | float] = {"class": classes[answer(prob, threshold, positive)]}
        if threshold is not None:
            chosen["threshold"] = round(threshold, 6)
        more = {"spread": dict(spread_of_classes(prob_MK, classes))} if uncertainty else {}
        return {"input": case.text, **chosen, "probabilities": probabilities, **more}

    def _uncertain(case: Case, output: Path, prob_MKDHW: np.ndarray, ready: Prepared) -> dict[str, Any]:
        written = write_maps(output, prob_MKDHW, ready, case.paths[0])
        rows = volume_rows(case.text, classes, volumes_of(prob_MKDHW, ready), in_ml=ready.grid is not None)
        return {"volumes": rows, "maps": {path.name: file_digest(path) for path in written.values()}}

    return predict


def _fault(case: Case, error: BaseException) -> NASError:
    if isinstance(error, NASError):
        return error
    reason = first_line(error) if isinstance(error, Exception) else ""
    return NASError(
        f"{case.text}, which cannot be predicted ({type(error).__name__}: {reason})",
        "a scan like those of the training",
        "repair it or leave it out",
    )
