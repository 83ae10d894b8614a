"""Addresses as settings spell them: ``host:port``, ``[v6]:port``, ``:port`` or ``unix:/path``.

Port 0 lets the system choose. What was bound is reported, never guessed beforehand.
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from layer_kit.configuration import ConfigurationError

UNIX_PREFIX: Final = "unix:"
PORT_MAX: Final = 65535
SOCKET_PROBE_S_MAX: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpAddress:
    """A host, possibly empty for all interfaces, and a port, possibly 0."""

    host: str
    port: int

    def bound(self, port: int) -> str:
        """Return how to spell this address once the system has chosen ``port``."""
        host = self.host or "0.0.0.0"  # noqa: S104 -- reported, not bound
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
        raise ConfigurationError(f"cannot listen on {address}: {explain(error)}") from error
    if isinstance(parsed, UnixAddress):
        return address
    return parsed.bound(runner.addresses[-1][1])


def remove_stale_socket(path: Path) -> None:
    """Delete the socket that a killed process left behind; binding to an existing file fails.

    Raises:
        ConfigurationError: When a process listens on it, or the file is no socket.
    """
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:  # nothing there, or the bind that follows tells what is wrong with the path
        return
    if not is_socket:
        raise ConfigurationError(
            f"cannot listen on {UNIX_PREFIX}{path}: it is a file of another kind; "
            "remove it, or choose another path"
        )
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(SOCKET_PROBE_S_MAX)
            probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {UNIX_PREFIX}{path}: {explain(error)}"
        ) from error
    else:
        raise ConfigurationError(f"cannot listen on {UNIX_PREFIX}{path}: Address already in use")


def bind_fault(address: TcpAddress | UnixAddress) -> str | None:
    """Bind ``address`` for a moment; return what the system says against it, None for nothing.

    For servers that fail to bind without telling why.
    """
    try:
        if isinstance(address, UnixAddress):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(str(address.path))
            address.path.unlink()
            return None
        family, kind, _, _, target = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.bind(target)
    except OSError as error:
        return explain(error)
    return None


def explain(error: OSError) -> str:
    """Return the system's words for ``error`` without the address that libraries add to them."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return str(error.strerror or error)
    return os.strerror(error.errno)
