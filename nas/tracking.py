"""Live curves while a search or a training runs: none, or a Visdom board."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
from annotated_types import Ge, Le, Len

from nas.utils.checked import checked

CONNECT_S, ANSWER_S = 2.0, 5.0  # how long a server may take before the run goes on without it
log = logging.getLogger(__name__)


@runtime_checkable
class Tracker(Protocol):
    """Where curves go. No method ever raises because of the board: a run is worth more than its picture."""

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        """Adds the point (step, value) to a curve of a plot; NaN and infinity leave a gap."""

    def text(self, name: str, html: str) -> None:
        """Shows a piece of HTML in place of what stood under this name. Escaping is the caller's."""

    def close(self) -> None:
        """Ends the connection; the board stays."""


class NoTracking:
    """Keeps nothing."""

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
        return

    def text(self, name: str, html: str) -> None:
        return

    def close(self) -> None:
        return


@checked("tracking")
class VisdomBoard:
    """Sends to a Visdom server (https://github.com/fossasia/visdom), into the environment `env`.

    server: address with its scheme. A server that is missing, dies or hangs is one logged warning, at the latest after
    7 seconds; from then on nothing is sent. Curves of an environment go on where an earlier run left them.
    """

    def __init__(
        self,
        server: Annotated[str, Len(1)] = "http://localhost",
        port: Annotated[int, Ge(1), Le(65535)] = 8097,
        env: Annotated[str, Len(1)] = "voxnas",
    ) -> None:
        self.server, self.port, self.env = server, port, env
        self._client: Any = None  # a visdom.Visdom, whose type stubs know half of its members
        self._client = self._try(lambda: _connect(server, port, env))

    def scalar(self, plot: str, series: str, step: float, value: float) -> None:
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
        self._send(lambda board: board.text(html, win=name, opts={"title": name}))

    def close(self) -> None:
        self._send(lambda board: board.save([self.env]))  # so that the board outlives its server
        self._drop()

    def _send(self, call: Callable[[Any], Any]) -> None:
        client = self._client
        if client is not None:
            self._try(lambda: call(client))

    def _try(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except _LostError as error:
            log.warning("no Visdom board at %s:%s (%s); the run goes on without it", self.server, self.port, error)
            self._drop()
            return None

    def _drop(self) -> None:
        if self._client is not None:
            self._client.session.close()
            self._client = None


class _LostError(Exception):
    """The server did not answer. No ConnectionError: Visdom's client would catch some of those and print."""


def _connect(server: str, port: int, env: str) -> Any:
    """A client without threads, retries and noise. Raises _LostError where no Visdom server answers."""
    import requests  # with visdom a second and more to import, which only runs with a board should pay
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

    # Made with sending off: with it on, the constructor warns that events will not be received.
    client: Any = Client(server, port=port, env=env, send=False, use_incoming_socket=False, raise_exceptions=True)
    client.send = True
    try:
        client.get_env_list()
    except ValueError as error:  # an answer, but no JSON
        client.session.close()
        raise _LostError("another program answers there") from error
    return client
