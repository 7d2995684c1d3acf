"""Tracker that shows a run on a Visdom board."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le, Len

from nas.tracking.base import Front, TrackedRun, Tracker, html_table
from nas.utils.annotations import Url
from nas.utils.checked import checked

CONNECT_S, ANSWER_S = 2.0, 5.0  # time limits, after which a run continues without the server
LAYOUT = {"plotly": {"title": "", "margin": {"t": 30}}}  # the title of the window is enough
TEXT_WIDTH, TEXT_HEIGHT = 440, 300  # px
COLOURS = ((160, 160, 160), (36, 104, 168))  # of dominated networks and of the front
log = logging.getLogger(__name__)


@checked("tracking")
class VisdomBoard(Tracker):
    """Tracker that sends to a Visdom server (https://github.com/fossasia/visdom), as `voxnas board` starts it.

    If the server is missing, dies or hangs, one warning is logged, at the latest after 7 seconds, and nothing is sent
    any more. Curves are appended to those of earlier runs in the same environment; points that it has are left out.

    Args:
        server: Address with its scheme.
        port: Port of the server.
        env: Environment of the board.
    """

    def __init__(
        self,
        server: Url = "http://localhost",
        port: Annotated[int, Ge(1), Le(65535)] = 8097,
        env: Annotated[str, Len(1)] = "voxnas",
    ) -> None:
        self.server, self.port, self.env = server, port, env
        self._shown: dict[tuple[str, str], set[float]] = {}  # steps of each curve
        self._made: dict[tuple[str, str], dict[float, float]] = {}  # own points of curves that were not there before
        self._client: Any = None  # a visdom.Visdom, whose type stubs lack half of its members
        self._client = self._try(lambda: _connect(server, port, env))

    def start(self, run: TrackedRun) -> None:
        """Show the settings of a run, see `Tracker.start`."""
        if settings := run.flat_settings():
            self.text("settings", html_table(list(settings.items())))

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Add a point to a curve, see `Tracker.scalar`."""
        if self._client is None:
            return
        key, step = (plot, series), float(step)
        if key not in self._shown:
            self._shown[key] = self._send(lambda board: _steps(board, plot, series)) or set()
            if not self._shown[key]:
                self._made[key] = {}
        if step in self._shown[key]:
            return
        self._shown[key].add(step)
        point = float(value) if math.isfinite(value) else math.nan
        self._append(plot, series, step, point)
        if (own := self._made.get(key)) is not None:
            own[step] = point
            if len(own) == 2:
                self._restore(key)

    def _append(self, plot: str, series: str, step: float, point: float) -> None:
        options = {"title": plot, "showlegend": True, "markers": True, "markersize": 4, "layoutopts": LAYOUT}
        self._send(
            lambda board: board.line(
                X=np.array([step]), Y=np.array([point]), win=plot, name=series, update="append", opts=options
            )
        )

    def _restore(self, key: tuple[str, str]) -> None:
        """Send points again that are gone: of workers that make a window at the same time, the last one wins."""
        plot, series = key
        there = self._send(lambda board: _steps(board, plot, series))
        for step, point in self._made[key].items():
            if there is not None and step not in there:
                self._append(plot, series, step, point)

    def text(self, name: str, html: str) -> None:
        """Show a text, see `Tracker.text`."""
        options = {"title": name, "width": TEXT_WIDTH, "height": TEXT_HEIGHT}
        self._send(lambda board: board.text(html, win=name, opts=options))

    def front(self, front: Front) -> None:
        """Show the Pareto front as a scatter plot, see `Tracker.front`."""
        if not len(front.values_N2):
            return
        groups_N = np.where(front.best_N, 2, 1)
        options = {
            "title": "Pareto front",
            "xlabel": front.x,
            "ylabel": front.y,
            "legend": ["dominated", "front"],
            "markercolor": np.array(COLOURS)[groups_N - 1],
            "markersize": 9,
            "textlabels": list(front.names),
            "mode": "markers",
            "layoutopts": LAYOUT,
        }
        self._send(lambda board: board.scatter(front.values_N2, groups_N, win="front", opts=options))

    def picture(self, name: str, picture_HW3: np.ndarray, caption: str = "") -> None:
        """Show a picture, see `Tracker.picture`."""
        options = {"title": name, "caption": caption}
        self._send(lambda board: board.image(picture_HW3.transpose(2, 0, 1), win=name, opts=options))

    def close(self) -> None:
        """Save the board on the server and end the connection."""
        for key in self._made:
            self._restore(key)
        self._made.clear()
        self._send(lambda board: board.save([self.env]))  # else the board ends with its server
        self._drop()

    def _send(self, call: Callable[[Any], Any]) -> Any:
        client = self._client
        return None if client is None else self._try(lambda: call(client))

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except _LostError as error:
            log.warning("no Visdom board at %s:%s (%s); the run continues without it", self.server, self.port, error)
            self._drop()
            return None

    def _drop(self) -> None:
        if self._client is not None:
            self._client.session.close()
            self._client = None


class _LostError(Exception):
    """The server did not answer. It is no ConnectionError, because Visdom's client catches some of these and prints."""


def _steps(board: Any, plot: str, series: str) -> set[float]:
    """Return the steps of a curve that the board shows."""
    if not board.win_exists(plot):
        return set()
    content = json.loads(board.get_window_data(plot)).get("content")
    traces = content.get("data", []) if isinstance(content, dict) else []
    return {float(x) for trace in traces if trace.get("name") == series for x in trace.get("x", [])}


def _connect(server: str, port: int, env: str) -> Any:
    """Connect without threads, retries and prints; raises _LostError if no Visdom server answers."""
    import requests  # takes a second to import with visdom, which only runs with a board need
    from visdom import Visdom

    class Client(Visdom):
        session = requests.Session()  # the client's own announces itself in the log

        def _handle_post(self, url: str, data: Any = None) -> str:
            try:
                answer = self.session.post(url, data=data, timeout=(CONNECT_S, ANSWER_S))
                answer.raise_for_status()
            except requests.RequestException as error:
                raise _LostError(type(error).__name__) from error
            return answer.text

    # made with send=False: otherwise the constructor warns that events will not be received
    client: Any = Client(server, port=port, env=env, send=False, use_incoming_socket=False, raise_exceptions=True)
    client.send = True
    try:
        client.get_env_list()
    except ValueError as error:  # an answer, but no JSON
        client.session.close()
        raise _LostError("another program answers there") from error
    return client
