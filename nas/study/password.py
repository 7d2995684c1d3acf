"""Passwords of stores: taken out of URLs, so that no file, message or list of processes of a worker holds them."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote, urlsplit

VARIABLE = "VOXNAS_STORE_PASSWORD"  # environment variable, which workers inherit
HOST = "VOXNAS_STORE_HOST"  # likewise: the server that gets the password
SERVERS = ("postgresql", "mysql", "mariadb", "oracle", "mssql")
IN_USER = re.compile(r"^(['\"]?[a-z][a-z0-9+.-]*://[^:@/\s]*):(.*)@", re.IGNORECASE | re.DOTALL)
IN_QUERY = re.compile(r"([?&])password=([^&#'\"]*)&?", re.IGNORECASE)


def take_password(url: str) -> str:
    """Take the password out of a URL and keep it in the environment of this process.

    Args:
        url: URL of a store.

    Returns:
        The URL without the password; `with_password` puts it back.
    """
    if not _of_server(url):
        return url
    for pattern in (IN_USER, IN_QUERY):
        match = pattern.search(url)
        if match is not None:
            os.environ[VARIABLE], os.environ[HOST] = unquote(match[2]), _host(url)
            rest = f"{match[1]}@" if pattern is IN_USER else match[1]
            url = (url[: match.start()] + rest + url[match.end() :]).rstrip("?&")
    return url


def with_password(url: str) -> str:
    """Put the password of the environment into a URL, for the driver only.

    Args:
        url: URL of a store.

    Returns:
        The URL, unchanged for a file, for a URL with a password, if the environment holds none, or if it holds that of
        another server.
    """
    password = os.environ.get(VARIABLE, "")
    scheme, _, rest = url.partition("://")
    user, at, place = rest.partition("@")
    if not password or not _of_server(url) or (at and ":" in user):
        return url
    if os.environ.get(HOST, _host(url)) != _host(url):  # the URL may be from elsewhere
        return url
    if not at or "/" in user:
        return f"{url}{'&' if '?' in url else '?'}password={quote(password, safe='')}"
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


def _host(url: str) -> str:
    """Return host and port of a URL."""
    return urlsplit(url.strip("'\"")).netloc.rpartition("@")[2].lower()


def _of_server(url: str) -> bool:
    return url.lstrip("'\"").lower().startswith(SERVERS)
