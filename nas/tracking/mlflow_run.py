"""Tracker that writes a run of MLflow."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Len

from nas.errors import NASError
from nas.tracking.base import Front, TrackedRun, Tracker
from nas.tracking.front_picture import front_picture
from nas.utils.checked import checked

KEY = "voxnas.run"  # tag by which a resumed search and its other workers find their run
LONGEST = 500  # characters of a parameter that every version of the server accepts
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # the client would report its use to its makers
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # a server that is gone would hold up a search for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder as store, which needs neither a server nor a database
    "GIT_PYTHON_REFRESH": "quiet",
}


@checked("tracking")
class MLflowRun(Tracker):
    """Tracker that writes one run of MLflow (https://mlflow.org) per study or training, by MLflow's own client.

    All workers of a study write the same run, and a resumed search or training continues it. Points that the run has
    are left out.

    Args:
        uri: Address of the store: a server (http://...), a database (sqlite:///mlflow.db) or a folder.
        experiment: Experiment of the run.

    Raises:
        NASError: If MLflow is not installed.
    """

    def __init__(
        self, uri: Annotated[str, Len(1)] = "outputs/mlruns", experiment: Annotated[str, Len(1)] = "voxnas"
    ) -> None:
        self.uri, self.experiment = uri, experiment
        self._client: Any = None
        self._run = ""
        self._steps: dict[str, set[int]] = {}  # of each metric
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow  # noqa: F401
        except ImportError as error:
            raise NASError(f"tracking=mlflow ({error})", "MLflow", "pip install 'voxnas[mlflow]'") from error

    def start(self, run: TrackedRun) -> None:
        """Create or find the run, and write the settings, see `Tracker.start`."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        uri = self.uri if re.match(r"\w{2,}:", self.uri) else Path(self.uri).resolve().as_uri()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the database library, for MLflow's own tables
            client = MlflowClient(uri)
        found = client.get_experiment_by_name(self.experiment)
        experiment = found.experiment_id if found is not None else _create(client, self.experiment)
        self._run, self._client = _run_of(client, experiment, run), client
        known = client.get_run(self._run).data.params
        settings = {_key(key): value[:LONGEST] for key, value in run.flat_settings().items()}
        params = [Param(key, value) for key, value in settings.items() if key not in known and value]
        for first in range(0, len(params), 100):  # the most of one request
            client.log_batch(self._run, params=params[first : first + 100])

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Add a point to a curve, see `Tracker.scalar`."""
        if self._client is None or not np.isfinite(value):
            return
        key, number = _key(f"{plot}/{series}"), round(step)
        if key not in self._steps:
            self._steps[key] = {point.step for point in self._client.get_metric_history(self._run, key)}
        if number not in self._steps[key]:
            self._steps[key].add(number)
            self._client.log_metric(self._run, key, float(value), step=number)

    def text(self, name: str, html: str) -> None:
        """Write a text as a file of the run, see `Tracker.text`."""
        if self._client is not None:
            self._client.log_text(self._run, html, f"{_file(name)}.html")

    def front(self, front: Front) -> None:
        """Write a picture of the Pareto front as a file of the run, see `Tracker.front`."""
        if self._client is not None:
            self._client.log_image(self._run, front_picture(front), artifact_file="front.png")

    def picture(self, name: str, picture_HW3: np.ndarray, caption: str = "") -> None:
        """Write a picture as a file of the run, see `Tracker.picture`."""
        if self._client is not None:
            self._client.log_image(self._run, picture_HW3, artifact_file=f"examples/{_file(name)}.png")

    def close(self) -> None:
        """Mark the run as finished; a resumed search or training continues it all the same."""
        if self._client is not None:
            self._client.set_terminated(self._run)
            self._client = None


def _create(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return client.create_experiment(name)
    except MlflowException:  # another worker was first
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def _run_of(client: Any, experiment: str, run: TrackedRun) -> str:
    """Return the run of a study; of workers that create it at the same time, all take the one of the smallest id."""
    key = f"{run.name} in {run.folder.resolve()}"
    condition = f"""tags."{KEY}" = '{key.replace("'", "")}'"""
    found = client.search_runs([experiment], condition)
    if not found:
        own = client.create_run(experiment, run_name=run.name, tags={KEY: key.replace("'", "")}).info.run_id
        found = client.search_runs([experiment], condition)
        if own != (first := min(one.info.run_id for one in found)):
            client.delete_run(own)
            return first
    return min(one.info.run_id for one in found)


def _key(name: str) -> str:
    """Replace what names of MLflow may not hold."""
    return re.sub(r"[^\w\-. /]", "_", name)[:250]


def _file(name: str) -> str:
    return re.sub(r"[^\w\-. ]", "_", name)[:100]
