"""Values that a search sends to its trackers."""

from __future__ import annotations

import numpy as np

from nas.data.splits import Split
from nas.history import History, Trial
from nas.problem import Problem
from nas.report.examples import data_pictures
from nas.tracking.base import NO_TRACKING, Front, TrackedRun, Tracker, html_table

EXAMPLES = 4  # pictures of validation samples


class TrackedSearch:
    """The trials of one worker and the front of all, sent to trackers.

    Each worker sends its own trials, those of an earlier run included; trackers leave out what they have.

    Args:
        tracker: The trackers.
        problem: Problem of the search.
        worker: Number of this worker.
    """

    def __init__(self, tracker: Tracker, problem: Problem, worker: int) -> None:
        self.tracker, self.problem, self.worker = tracker, problem, worker
        self._sent: set[int] = set()

    def start(self, run: TrackedRun, split: Split) -> None:
        """Send the settings and pictures of validation samples.

        Args:
            run: The search.
            split: The split of the data set.
        """
        if self.tracker is NO_TRACKING:
            return
        self.tracker.start(run)
        for number, example in enumerate(data_pictures(split.store, split.search[1], EXAMPLES), start=1):
            caption = f"{example.name}: {example.caption}" if example.caption else example.name
            self.tracker.picture(f"validation sample {number}", example.picture_HW3, caption)

    def update(self, history: History) -> None:
        """Send the trials that finished since the last call.

        Args:
            history: The study's trials.
        """
        if self.tracker is NO_TRACKING:
            return
        done = history.searched.complete()
        if len(done) == len(self._sent):
            return
        scores = history.sign[history.score] * np.maximum.accumulate(history.scores(done))
        for trial, best in zip(done, scores, strict=True):
            if trial.number not in self._sent and trial.worker == str(self.worker):
                self._send(trial, history.score, float(best))
        self._sent = {trial.number for trial in done}
        self._send_front(history)

    def _send(self, trial: Trial, score: str, best: float) -> None:
        self.tracker.scalar("search", score, trial.number, trial.metrics[score])
        self.tracker.scalar("search", "best so far", trial.number, best)
        for name in self._shown():
            if name != score and name in trial.metrics:
                self.tracker.scalar(f"{name} of trials", name, trial.number, trial.metrics[name])

    def _shown(self) -> list[str]:
        """Return the metrics that decide the search, and the time of a trial."""
        limited = [limit.metric for limit in self.problem.constraints]
        return list(dict.fromkeys([*self.problem.objectives, *limited, "seconds"]))

    def _send_front(self, history: History) -> None:
        others = [name for name in history.objectives if name != history.score]
        kept = {trial.number for trial in history.front()}
        if others:
            done = history.final()
            values = [[trial.metrics[name] for name in (others[0], history.score)] for trial in done]
            best = np.array([trial.number in kept for trial in done])
            names = tuple(f"trial {trial.number}" for trial in done)
            self.tracker.front(Front(others[0], history.score, np.array(values, dtype=np.float64), best, names))
        columns = [name for name in self._shown() if name in history.front()[0].metrics]
        rows = [[str(trial.number), *(f"{trial.metrics[name]:.4g}" for name in columns)] for trial in history.front()]
        self.tracker.text("networks of the front", html_table([["trial", *columns], *rows]))
