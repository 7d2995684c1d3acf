"""The files that the page of the board loads: fetched from the npm registry, kept in one zip file, and checked.

Their content is known beforehand (`table.py`), so that a zip file from anywhere can be used: nothing else is served.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from experiments.board.table import ASSETS
from nas.errors import NASError
from nas.utils.files import write_bytes

REGISTRY = "https://registry.npmjs.org"
CONNECT_S, ANSWER_S = 10.0, 120.0
LARGEST = 16 * 2**20  # bytes of one file, far more than any of them has
PACK = "run `voxnas board --pack-assets board.zip` on a connected machine, then `voxnas board --assets board.zip` here"
LICENCES, ABOUT = ("license", "licence", "copying"), ("package.json", "readme.md")


def registry_url() -> str:
    """Return the address of the npm registry.

    Returns:
        The address that npm's own environment variable or the user's .npmrc names, else the public one.
    """
    names = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
    chosen = next((os.environ[name] for name in names if os.environ.get(name)), "")
    if not chosen:
        try:
            lines = (Path.home() / ".npmrc").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError, RuntimeError):
            lines = []
        pairs = [line.partition("=") for line in lines]
        chosen = next((value.strip() for key, _, value in pairs if key.strip() == "registry"), REGISTRY)
    return chosen.rstrip("/")


def fetch(registry: str) -> bytes:
    """Fetch all files and the licences of their packages.

    Args:
        registry: Address of an npm registry.

    Returns:
        Content of the zip file.

    Raises:
        NASError: If the registry cannot be reached, or sends other content than expected.
    """
    packages: dict[str, list[int]] = {}
    for number, asset in enumerate(ASSETS):
        packages.setdefault(asset.package, []).append(number)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for package, numbers in packages.items():
            members = _package(registry, package)
            for number in numbers:
                asset = ASSETS[number]
                data = members.get(asset.member, b"")
                if hashlib.sha256(data).hexdigest() != asset.sha256:
                    raise NASError(
                        f"another {asset.member} of {package} from {registry}",
                        "the file of the public registry",
                        "use a registry that mirrors registry.npmjs.org, with the variable npm_config_registry",
                    )
                archive.writestr(asset.path, data)
            for name, data in _licence(members).items():
                archive.writestr(f"licences/{package}/{name}", data)
    return content.getvalue()


def _package(registry: str, package: str) -> dict[str, bytes]:
    """Fetch a package; returns path in the package -> content."""
    import requests  # takes long to import

    name, _, version = package.rpartition("@")
    url = f"{registry}/{name}/-/{name}-{version}.tgz"
    try:
        answer = requests.get(url, timeout=(CONNECT_S, ANSWER_S))
        answer.raise_for_status()
        with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:gz") as archive:
            return {
                member.name.partition("/")[2]: stream.read()
                for member in archive
                if _is_wanted(package, member) and (stream := archive.extractfile(member)) is not None
            }
    except (requests.RequestException, ValueError) as error:
        raise NASError(
            f"no answer of {registry} ({type(error).__name__})", "the scripts of the board's page", PACK
        ) from error
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise NASError(f"a damaged {url} ({error})", "a package of npm", "run the command again") from error


def _is_wanted(package: str, member: tarfile.TarInfo) -> bool:
    path = member.name.partition("/")[2]
    wanted = {asset.member for asset in ASSETS if asset.package == package}
    about = "/" not in path and path.lower().startswith((*LICENCES, *ABOUT))
    return member.isfile() and member.size <= LARGEST and (path in wanted or about)


def _licence(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the licence files of a package, or what names the licence where there is none."""
    files = {name: data for name, data in members.items() if name.lower().startswith(LICENCES)}
    return files or {name: data for name, data in members.items() if name.lower() in ABOUT}


def unpack(content: bytes, name: str) -> dict[str, bytes]:
    """Read and check the files of a zip file, in memory: nothing of it is written to a path that it names.

    Args:
        content: Content of the zip file.
        name: Its name, for messages.

    Returns:
        Path below /static/ -> content, of all files.

    Raises:
        NASError: If it is damaged, lacks a file, or has other content in one.
    """
    fix = "make it anew with `voxnas board --pack-assets`"
    files = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            known = set(archive.namelist())
            for asset in ASSETS:
                if asset.path not in known:
                    raise NASError(f"{name} without {asset.path}", "a file of `voxnas board --pack-assets`", fix)
                entry = archive.getinfo(asset.path)
                data = archive.read(entry) if entry.file_size <= LARGEST else b""
                if hashlib.sha256(data).hexdigest() != asset.sha256:
                    raise NASError(f"{name} with another {asset.path}", "the file as its makers publish it", fix)
                files[asset.path] = data
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise NASError(f"{name}, which is damaged ({error})", "a file of `voxnas board --pack-assets`", fix) from error
    return files


def kept_file() -> Path:
    """Return where the zip file is kept between calls.

    Returns:
        A path in the user's folder for caches.
    """
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return Path(base) / "voxnas" / "board.zip"


def load(given: Path | None, registry: str) -> dict[str, bytes]:
    """Return the files of the page: of a given zip file, of the one kept before, or fetched now.

    Args:
        given: A zip file of `--pack-assets`; it is kept for later calls.
        registry: Address of an npm registry, asked if there is no zip file.

    Returns:
        Path below /static/ -> content.

    Raises:
        NASError: If the zip file is damaged, or there is none and the registry cannot be reached.
    """
    kept = kept_file()
    if given is not None:
        content = _read(given)
        files = unpack(content, str(given))
        _keep(kept, content)
        return files
    if kept.is_file():
        try:
            return unpack(_read(kept), str(kept))
        except NASError:
            kept.unlink(missing_ok=True)  # of an earlier version, or damaged
    print(
        "fetching the scripts of the board's page from the npm registry, 25 MB, once ...", file=sys.stderr, flush=True
    )
    content = fetch(registry)
    files = unpack(content, "the fetched files")
    _keep(kept, content)
    return files


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise NASError(f"--assets {path} ({reason})", "a zip file of `voxnas board --pack-assets`", PACK) from error


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        print(f"note: {path} cannot be written ({error.strerror}); --assets is needed each time", file=sys.stderr)
