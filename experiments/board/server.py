"""The Visdom server in this process, with a static handler of ours.

Visdom 0.2.4 expects the files of third parties in its own package, which may be read-only, and asks Tornado for the
address of `../user/style.css`, which Tornado 6.6 refuses (403) because it is outside of the static folder. The handler
of this module serves these files from memory and forms the addresses itself, so that any version of Tornado will do.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import mimetypes
import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import visdom.server.app as visdom_app
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import StaticFileHandler
from visdom.utils.server_utils import LazyEnvData, serialize_env

from nas.errors import NASError

SAVE_MS = 60_000  # interval at which the boards are saved
BUFFER = 2**30  # bytes of the largest message, as Visdom sets it
STATIC_URL = re.compile(r"""static_url\(\s*["']([^"']+)["']\s*\)""")


class PageFiles(StaticFileHandler):
    """Files of Visdom's package and, from memory, those of third parties."""

    files: Mapping[str, bytes] = {}

    @classmethod
    def make_static_url(cls, settings: dict[str, Any], path: str, include_version: bool = True) -> str:
        """Return the address of a file without reading it.

        Args:
            settings: Settings of the application.
            path: Path below the static folder; a browser resolves `..` in it.
            include_version: Ignored: addresses have no version.

        Returns:
            The address, relative to the host.
        """
        return settings.get("static_url_prefix", "/static/") + path

    async def get(self, path: str, include_body: bool = True) -> None:
        """Send a file.

        Args:
            path: Path below /static/.
            include_body: Whether to send the content.
        """
        content = self.files.get(path)
        if content is None:
            await super().get(path, include_body)
            return
        self.set_header("Content-Type", mimetypes.guess_type(path)[0] or "application/octet-stream")
        self.set_header("Cache-Control", "max-age=3600")
        self.set_header("Content-Length", str(len(content)))
        if include_body:
            self.write(content)

    def compute_etag(self) -> str | None:
        """Return a digest of the file's content.

        Returns:
            The digest as browsers compare it; None for a file from memory.
        """
        return super().compute_etag() if hasattr(self, "absolute_path") else None


def serve(
    files: Mapping[str, bytes], listener: socket.socket, folder: Path, ready: Callable[[list[str]], None]
) -> None:
    """Serve until the process is interrupted, then save the boards.

    Args:
        files: Path below /static/ -> content, the files of third parties.
        listener: Bound socket.
        folder: Folder of the saved boards.
        ready: Called once the server listens, with the names of the boards.

    Raises:
        NASError: If the installed Visdom needs other files.
    """
    static = Path(visdom_app.tornado_settings["static_path"])
    if missing := _missing(static, files):
        raise NASError(
            f"a version of Visdom whose page also loads {missing}", "visdom 0.2.4", "pip install 'visdom==0.2.4'"
        )
    _name_the_user()
    logging.getLogger("tornado.access").setLevel(logging.ERROR)  # a missing favicon is no news
    # Visdom makes its Application from these settings; it offers no other way to them
    handler = type("Files", (PageFiles,), {"files": files})
    visdom_app.tornado_settings.update(static_handler_class=handler, autoreload=False, serve_traceback=False)
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = IOLoop.current()
    application = visdom_app.Application(port=listener.getsockname()[1], base_url="", env_path=f"{folder}{os.sep}")
    server = HTTPServer(application, max_buffer_size=BUFFER)
    listener.setblocking(False)
    server.add_sockets([listener])
    saver = PeriodicCallback(lambda: _save(application.state, folder), SAVE_MS)
    saver.start()
    try:
        ready(sorted(application.state))
        loop.start()
    except KeyboardInterrupt:  # how a server ends
        pass
    finally:
        saver.stop()
        server.stop()
        _save(application.state, folder)


def _missing(static: Path, files: Mapping[str, bytes]) -> str:
    """Return the first file that the page of the installed Visdom loads and that nothing provides, or ""."""
    page = (static / "index.html").read_text(encoding="utf-8")
    wanted = [path for path in STATIC_URL.findall(page) if not path.startswith("..")]
    return next((path for path in wanted if path not in files and not (static / path).is_file()), "")


def _save(state: Mapping[str, Any], folder: Path) -> None:
    """Save the boards that were read or written; Visdom would replace one that it has not read by nothing."""
    used = [name for name, board in state.items() if not isinstance(board, LazyEnvData) or board._raw_dict is not None]
    serialize_env(state, used, env_path=str(folder))


def _name_the_user() -> None:
    """Let Visdom's page name the user; in a container there may be none."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["LOGNAME"] = "user"
