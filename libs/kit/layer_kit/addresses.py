"""Addresses as settings spell them: ``host:port``, ``[v6]:port``, ``:port`` or ``unix:/path``.

Port 0 lets the system choose. What was bound is reported, never guessed beforehand.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from layer_kit.configuration import ConfigurationError

UNIX_PREFIX: Final = "unix:"
PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """A host, possibly empty for all interfaces, and a port, possibly 0."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixAddress:
    """A socket in the file system."""

    path: Path


def parse_address(text: str) -> TcpAddress | UnixAddress:
    """Parse an address of a setting.

    Raises:
        ConfigurationError: When it is none of the accepted forms.
    """
    if text.startswith(UNIX_PREFIX):
        return UnixAddress(path=Path(text.removeprefix(UNIX_PREFIX)))
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > PORT_MAX:
        raise ConfigurationError(f"address {text!r} is neither host:port nor unix:/path")
    return TcpAddress(host=host.strip("[]"), port=int(port))


async def bind_site(runner: web.BaseRunner, address: str, *, reuse_port: bool = False) -> str:
    """Let an aiohttp ``runner`` listen on ``address``; return the address that was bound.

    Raises:
        ConfigurationError: When it cannot be bound, naming the address and the cause.
    """
    parsed = parse_address(address)
    site: web.BaseSite
    if isinstance(parsed, UnixAddress):
        remove_stale_socket(parsed.path)
        site = web.UnixSite(runner, str(parsed.path))
    else:
        host = parsed.host or None
        site = web.TCPSite(runner, host, parsed.port, reuse_port=reuse_port or None)
    try:
        await site.start()
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address}: {os.strerror(error.errno or 0)}"
        ) from error
    if isinstance(parsed, UnixAddress):
        return address
    port = runner.addresses[-1][1]
    return f"{parsed.host or '0.0.0.0'}:{port}"  # noqa: S104 -- reported, not bound


def remove_stale_socket(path: Path) -> None:
    """Delete what a killed process left behind; binding to an existing file fails."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
