"""Where the upstream is: ``http://host[:port][/prefix]``, ``https://…`` or ``unix:/path``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from layer_kit.addresses import UNIX_PREFIX
from layer_kit.configuration import ConfigurationError

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One upstream.

    Attributes:
        unix_path: The socket's path; empty for TCP.
        authority: Value of the ``host`` header.
        path_prefix: Put before every target; empty, or starting and not ending with ``/``.
    """

    text: str
    host: str
    port: int
    is_tls: bool
    unix_path: str
    authority: bytes
    path_prefix: bytes


def parse_origin(text: str) -> Origin:
    """Parse an origin as settings spell it.

    Raises:
        ConfigurationError: When it is none of the accepted forms.
    """
    if text.startswith(UNIX_PREFIX):
        return Origin(
            text=text,
            host="localhost",
            port=0,
            is_tls=False,
            unix_path=text.removeprefix(UNIX_PREFIX),
            authority=b"localhost",
            path_prefix=b"",
        )
    try:
        return _parse_url(text, urlsplit(text))
    except ValueError as error:
        raise ConfigurationError(f"origin {text!r} is not a URL: {error}") from error


def _parse_url(text: str, url: SplitResult) -> Origin:
    if url.scheme not in DEFAULT_PORTS or not url.hostname:
        raise ConfigurationError(f"origin {text!r} is neither http(s)://host nor unix:/path")
    if url.username is not None or url.query or url.fragment:
        raise ConfigurationError(f"origin of {url.hostname} must not carry a user, query or #")
    host = url.hostname.encode("idna").decode() if not url.hostname.isascii() else url.hostname
    shown = f"[{host}]" if ":" in host else host
    default_port = DEFAULT_PORTS[url.scheme]
    port = default_port if url.port is None else url.port
    return Origin(
        text=text,
        host=host,
        port=port,
        is_tls=url.scheme == "https",
        unix_path="",
        authority=(shown if port == default_port else f"{shown}:{port}").encode(),
        path_prefix=url.path.rstrip("/").encode("ascii"),
    )
