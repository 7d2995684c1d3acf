"""`voxnas board`: a Visdom board for the live curves, fronts and pictures of `tracking=visdom`."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from pathlib import Path

from experiments.argument_types import number_type
from experiments.cli import Parser, write_line
from nas.errors import NASError

EXAMPLES = (
    "voxnas board",
    "voxnas board --port 8100 --folder outputs/board",
    "voxnas board --pack-assets board.zip        # on a connected machine",
    "voxnas board --assets board.zip             # on a machine without internet",
)
PACKED = "board.zip"


def parser() -> Parser:
    """Return the parser of `voxnas board`.

    Returns:
        The parser.
    """
    board = Parser("voxnas board", "Start a Visdom board, which tracking=visdom sends to, until Ctrl-C.", EXAMPLES)
    add = board.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; a board has no password (default: %(default)s)")
    add("--port", type=number_type(int, 0, 65535), default=8097, help="0 takes a free one (default: %(default)s)")
    add("--folder", type=Path, default=Path("outputs/board"), help="the saved boards (default: %(default)s)")
    add("--assets", type=Path, metavar="FILE.zip", help="the scripts of the page, for a machine without internet")
    add(
        "--pack-assets",
        type=Path,
        nargs="?",
        const=Path(PACKED),
        metavar="FILE.zip",
        help=f"fetch the scripts of the page from the npm registry into a file, and end (default: {PACKED})",
    )
    board.set_defaults(run=run)
    return board


def run(options: argparse.Namespace) -> None:
    """Pack the scripts of the page, or serve the board.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If the address is taken, or the scripts cannot be had.
    """
    from experiments.board.assets import fetch, load, registry_url
    from nas.utils.files import write_bytes
    from nas.utils.folders import require_output, require_writable

    if options.pack_assets is not None:
        if options.assets is not None:
            raise NASError("--pack-assets with --assets", "one of the two", "leave out one")
        require_output(options.pack_assets)
        content = fetch(registry_url())
        write_bytes(options.pack_assets, content)
        write_line(f"wrote {options.pack_assets}, {len(content) / 1e6:.1f} MB, with the licences of its files")
        return
    listener = _listen(options.host, options.port)
    with listener:
        require_writable(options.folder)
        files = load(options.assets, registry_url())
        from experiments.board.server import serve  # takes a second to import

        options.folder.mkdir(parents=True, exist_ok=True)
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if not _is_loopback(host):
            print(f"warning: anyone who can reach {address} can read and delete the board", file=sys.stderr)

        def ready(names: list[str]) -> None:
            known = [name for name in names if name != "main"]
            shown = f"; saved boards: {', '.join(known[:5])}{' ...' if len(known) > 5 else ''}" if known else ""
            write_line(f"the board is at {address}, Ctrl-C ends it{shown}")

        serve(files, listener, options.folder, ready)
    write_line(f"saved the boards in {options.folder}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NASError(
            f"--host {host} --port {port} ({reason})",
            "an address that is free",
            "use the board that runs there, or name another --port, for example --port 0",
        ) from error
