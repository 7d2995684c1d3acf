"""Live curves of a search or a training on a Visdom board."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
from annotated_types import Ge, Le, Len

from nas.utils.checked import checked

CONNECT_S, ANSWER_S = 2.0, 5.0  # time limits, after which a run continues without the server
log = logging.getLogger(__name__)


@runtime_checkable
class Tracker(Protocol):
    """Receiver of live curves. Methods never raise: a failing board does not stop a run."""

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Add a point to a curve.

        Args:
            plot: Name of the plot.
            series: Name of the curve in it.
            step: Horizontal coordinate.
            value: Vertical coordinate. NaN and infinity leave a gap.
        """

    def text(self, name: str, html: str) -> None:
        """Show a text, replacing the earlier one of this name.

        Args:
            name: Name of the text.
            html: HTML, escaped by the caller.
        """

    def close(self) -> None:
        """End the connection; the board remains."""


class NoTracking(Tracker):
    """Tracker that ignores everything."""

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Ignore a point, see `Tracker.scalar`."""

    def text(self, name: str, html: str) -> None:
        """Ignore a text, see `Tracker.text`."""

    def close(self) -> None:
        """Do nothing."""


NO_TRACKING = NoTracking()


@checked("tracking")
class VisdomBoard(Tracker):
    """Tracker that sends to a Visdom server (https://github.com/fossasia/visdom).

    If the server is missing, dies or hangs, one warning is logged, at the latest after 7 seconds, and nothing is sent
    any more. Curves are appended to those of earlier runs in the same environment.

    Args:
        server: Address with its scheme.
        port: Port of the server.
        env: Environment of the board.
    """

    def __init__(
        self,
        server: Annotated[str, Len(1)] = "http://localhost",
        port: Annotated[int, Ge(1), Le(65535)] = 8097,
        env: Annotated[str, Len(1)] = "voxnas",
    ) -> None:
        self.server, self.port, self.env = server, port, env
        self._client: Any = None  # a visdom.Visdom, whose type stubs lack half of its members
        self._client = self._try(lambda: _connect(server, port, env))

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Add a point to a curve, see `Tracker.scalar`."""
        point = float(value) if math.isfinite(value) else math.nan
        options = {"title": plot, "showlegend": True, "markers": True, "markersize": 4}
        self._send(
            lambda board: board.line(
                X=np.array([float(step)]),
                Y=np.array([point]),
                win=plot,
                name=series,
                update="append",
                opts=options,
            )
        )

    def text(self, name: str, html: str) -> None:
        """Show a text, see `Tracker.text`."""
        self._send(lambda board: board.text(html, win=name, opts={"title": name}))

    def close(self) -> None:
        """Save the board on the server and end the connection."""
        self._send(lambda board: board.save([self.env]))  # else the board ends with its server
        self._drop()

    def _send(self, call: Callable[[Any], Any]) -> None:
        client = self._client
        if client is not None:
            self._try(lambda: call(client))

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
