"""Values that a finished training sends to its trackers."""

from __future__ import annotations

from html import escape

from nas.report.examples import case_pictures
from nas.retraining.result import TrainResult
from nas.tasks.base import TestedCases
from nas.tracking.base import NO_TRACKING, Tracker


def track_test(tracker: Tracker, result: TrainResult, cases: TestedCases, kind: str, table: str) -> None:
    """Send the results of the test and pictures of three test cases.

    Args:
        tracker: The trackers.
        result: The result.
        cases: The test cases.
        kind: Kind of the task.
        table: The table as text.
    """
    if tracker is NO_TRACKING:
        return
    for name, value in result.mean.items():
        tracker.scalar("test", name, 0, value)
    tracker.text("table of the test", f"<pre>{escape(table)}</pre>")
    for number, example in enumerate(case_pictures(cases, kind), start=1):
        caption = f"{example.name}: {example.caption}" if example.caption else example.name
        tracker.picture(f"test case {number}", example.picture_HW3, caption)
