"""What a process and its supervisor agree on: one line about addresses, and dying together.

Light on purpose: the supervisor imports this module and nothing else of a service's machinery.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final

SUPERVISOR_VARIABLE: Final = "LAYER_SUPERVISOR_PID"
LISTENING: Final = "listening "
PR_SET_PDEATHSIG: Final = 1


def listening_line(addresses: Mapping[str, str]) -> str:
    """Render the line that a process prints on stdout once it listens.

    Args:
        addresses: By kind: ``grpc``, ``ops``, ``http``.
    """
    return f"{LISTENING}{json.dumps(dict(addresses))}"


def parse_listening_line(line: str) -> dict[str, str] | None:
    """Return the addresses of a ``listening`` line, or None when ``line`` is anything else."""
    if not line.startswith(LISTENING):
        return None
    try:
        addresses = json.loads(line.removeprefix(LISTENING))
    except ValueError:
        return None
    if not isinstance(addresses, dict):
        return None
    return {str(kind): str(address) for kind, address in addresses.items()}


def die_with_supervisor() -> None:
    """Ask the kernel to stop this process when `layer up` dies, even by SIGKILL.

    The pid is checked after the request, since the supervisor may have died in between.
    """
    if not (supervisor := os.environ.get(SUPERVISOR_VARIABLE)):
        return
    with contextlib.suppress(OSError, AttributeError):  # prctl is Linux's alone
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != supervisor:
        sys.exit(0)
