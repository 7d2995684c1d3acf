"""`voxnas serve`: a trained detector as an HTTP service, with a page to drop a slice on.

    VOXNAS_API_KEY=... voxnas serve outputs/train/lung_detector
    voxnas serve outputs/train/lung_detector --insecure-local

Every prediction needs the key in the header X-API-Key. Without a key the service starts only with --insecure-local, on
a loopback address. See docs/how-to/serve-a-detector.md.
"""

from __future__ import annotations

import argparse
import inspect
import ipaddress
import logging
import os
import pkgutil
import socket
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.argument_types import count_type, number_type
from experiments.cli import Parser, run_parser
from nas.errors import NASError, first_line

PREDICTOR = "experiments.lung_detector.predictor:Predictor"
KEY_VARIABLE = "VOXNAS_API_KEY"
SHORTEST_KEY = 16
LONGEST_KEY = 4096
EXAMPLES = (
    "VOXNAS_API_KEY=... voxnas serve outputs/train/lung_detector",
    "voxnas serve outputs/train/lung_detector --insecure-local",
)
NO_KEY = (
    f"set {KEY_VARIABLE} or --key-file (python -c 'import secrets; print(secrets.token_urlsafe())' makes a key), or "
    "use --insecure-local to try it on this machine only"
)


def main(arguments: Sequence[str]) -> int:
    """Serve until the process is interrupted.

    Args:
        arguments: Arguments of the command line.

    Returns:
        Exit code, see `experiments.cli.run_command`.
    """
    return run_parser(parser(), arguments)


def parser() -> Parser:
    """Return the parser of `voxnas serve`.

    Returns:
        The parser.
    """
    serve = Parser("voxnas serve", "Serve a trained detector over HTTP, with a page to drop a slice on.", EXAMPLES)
    add = serve.add_argument
    add("model", metavar="MODEL", type=Path, help="folder of run_train.py, or of one bundle")
    add(
        "--threshold",
        type=number_type(float, 0, 1),
        default=0.25,
        help="lowest score of a reported box (default: %(default)s)",
    )
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=number_type(int, 0, 65535), default=8000, help="0 takes a free one (default: %(default)s)")
    add("--key-file", type=Path, help=f"file with the key (default: the environment variable {KEY_VARIABLE})")
    add("--insecure-local", action="store_true", help="start without a key; on a loopback address only")
    add(
        "--max-mb",
        type=number_type(float, 1e-3),
        default=16.0,
        help="largest upload, in 2^20 bytes (default: %(default)s)",
    )
    add("--max-pixels", type=count_type, default=2048 * 2048, help="largest image (default: %(default)s)")
    add(
        "--places",
        type=count_type,
        default=16,
        help="requests at work at a time; then 429 (default: %(default)s)",
    )
    add(
        "--connections",
        type=number_type(int, 1, 100_000),
        default=512,
        help="connections at a time; then the longest idle one is closed (default: %(default)s)",
    )
    add("--batch", type=count_type, default=8, help="images predicted together at most (default: %(default)s)")
    add(
        "--upload-seconds",
        type=number_type(float, 1e-3),
        default=30.0,
        help="longest upload; then 408 (default: %(default)s)",
    )
    add(
        "--answer-seconds",
        type=number_type(float, 1e-3),
        default=30.0,
        help="longest wait; then 429 (default: %(default)s)",
    )
    add(
        "--predictor",
        default=PREDICTOR,
        metavar="MODULE:CLASS",
        help="class with `load(path, threshold)`, `classes` and `predict` (default: %(default)s)",
    )
    serve.add_allow_package()
    serve.set_defaults(run=_serve)
    return serve


def _serve(options: argparse.Namespace) -> None:
    key = _key(options)
    try:
        import python_multipart  # noqa: F401  Starlette looks for it when the first form comes
        import uvicorn

        from experiments.lung_detector.service.app import Settings, create_app
        from experiments.lung_detector.service.connections import HEADER_BYTES, Bounds, PathsOnly, protocol_with
        from experiments.lung_detector.service.images import Limits
    except ModuleNotFoundError as error:
        raise NASError(
            f"no package {error.name}", "the packages of the service", "pip install 'voxnas[serve]'"
        ) from error
    limits = Limits(most_bytes=int(options.max_mb * 2**20), most_pixels=options.max_pixels)
    settings = Settings(
        key=key,
        limits=limits,
        places=options.places,
        largest_batch=options.batch,
        upload_seconds=options.upload_seconds,
        answer_seconds=options.answer_seconds,
    )
    bounds = Bounds(most=options.connections)
    load = _predictor_class(options.predictor).load
    if options.allow_package and "allow" not in inspect.signature(load).parameters:
        raise NASError(f"--allow-package with --predictor {options.predictor}", "one of the two", "leave out one")
    more = {"allow": options.allow_package} if options.allow_package else {}
    predictor = _loaded(load, options, more)
    listener = _listen(options.host, options.port)
    # pydicom quotes values of a file, which may be a patient's, in its warnings
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        create_app(predictor, settings),
        http=protocol_with(bounds),
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=bounds.idle_seconds,
        ws="none",
        log_level="info",
        server_header=False,
        headers=[("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")],
        proxy_headers=False,
        timeout_graceful_shutdown=30,
    )
    logging.getLogger("uvicorn.access").addFilter(PathsOnly(key))
    asked = "with a key" if key else "WITHOUT a key, for this machine only"
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    print(f"serving {options.model} {asked} at http://{address} (API: http://{address}/docs)", flush=True)
    with suppress(KeyboardInterrupt):  # how a service ends
        uvicorn.Server(config).run(sockets=[listener])


def _key(options: argparse.Namespace) -> str | None:
    """Return the configured key, or None with --insecure-local and no key."""
    key, where = os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE
    if options.key_file is not None:
        where = str(options.key_file)
        try:
            with open(options.key_file, encoding="utf-8") as file:  # may be a pipe, but not one without an end
                key = file.read(LONGEST_KEY + 1).strip()
            if len(key) > LONGEST_KEY:
                raise ValueError(f"more than {LONGEST_KEY} letters")
        except (OSError, ValueError) as error:
            raise NASError(f"--key-file {where}, which cannot be read", "a text file with the key", NO_KEY) from error
    elif not key and options.insecure_local:
        if not _is_loopback(options.host):
            raise NASError(
                f"--insecure-local with --host {options.host}", "a loopback address", "leave --host out, or set a key"
            )
        return None
    if not key:
        raise NASError("no API key", "a key that clients send in X-API-Key", NO_KEY)
    if len(key) < SHORTEST_KEY or not all("!" <= letter <= "~" for letter in key):
        raise NASError(
            f"a key in {where} that is short or has odd letters",
            f"at least {SHORTEST_KEY} printable ASCII letters without spaces",
            NO_KEY,
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _predictor_class(name: str) -> Any:
    try:
        found = pkgutil.resolve_name(name)
    except Exception as error:  # whatever the module raises
        raise NASError(
            f"--predictor {name} ({type(error).__name__}: {first_line(error)})",
            "MODULE:CLASS",
            "name a class that can be imported",
        ) from error
    methods = ("load", "predict")
    if not inspect.isclass(found) or not all(callable(getattr(found, method, None)) for method in methods):
        raise NASError(f"--predictor {name}", "a class with `load` and `predict`", "name such a class")
    return found


def _loaded(load: Any, options: argparse.Namespace, more: Mapping[str, Any]) -> Any:
    """Load the predictor; whatever a class of `--predictor` raises is one line."""
    own = options.predictor == PREDICTOR
    try:
        predictor = load(options.model, options.threshold, **more)
    except NASError:
        raise
    except Exception as error:
        if own:  # a defect of VoxNAS, which keeps its traceback
            raise
        raise NASError(
            f"--predictor {options.predictor}, which fails to load {options.model} "
            f"({type(error).__name__}: {first_line(error)})",
            "a class whose `load` takes a path and a threshold",
            "correct the class",
        ) from error
    classes = getattr(predictor, "classes", None)
    if not isinstance(classes, Sequence) or not all(isinstance(name, str) for name in classes):
        raise NASError(f"--predictor {options.predictor} without `classes`", "names of classes", "correct the class")
    return predictor


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)  # asyncio does it for sockets of its own only
        return listener
    except OSError as error:
        raise NASError(f"--host {host} --port {port} ({error})", "a free address", "choose another port") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
