"""A service small enough to start in a blink: it listens, is ready, logs, and stops.

The tests place copies of it as the ``__main__`` of packages named like the real services, so the
command starts it in their stead. What it does can be changed while it runs, by the JSON file of
its name in ``LAYER_TEST_BEHAVIOUR``:

    refuse: text    print this line and exit with code 2 before listening
    unready: true   answer 503 on /readyz
    deaf: true      ignore SIGTERM
    drain_s: 0.5    seconds between SIGTERM and the end
    log: text       a line for stderr, after listening

It appends ``<name> <event> <pid>`` to the file ``events`` there, and leaves its environment in
``<name>.environment``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from layer_kit.supervision import die_with_supervisor, listening_line

DIRECTORY = Path(os.environ["LAYER_TEST_BEHAVIOUR"])


def main(name: str) -> None:
    prefix = f"LAYER_{name.upper()}_"
    note(name, "started")
    (DIRECTORY / f"{name}.environment").write_text(json.dumps(dict(os.environ)))
    if line := behaviour(name).get("refuse"):
        tell(sys.stderr, line)
        sys.exit(2)
    signal.signal(signal.SIGTERM, lambda *_: stop(name))
    die_with_supervisor()
    ops = listen(os.environ[f"{prefix}OPS_ADDRESS"])
    sockets = {"ops": ops}
    for kind in ("http", "grpc"):
        if address := os.environ.get(f"{prefix}{kind.upper()}_ADDRESS"):
            sockets[kind] = listen(address)
    addresses = {kind: address_of(listener) for kind, listener in sockets.items()}
    if name == "postgres":
        addresses["postgres"] = "postgresql:///layer"
    tell(sys.stdout, "not an address")
    tell(sys.stdout, listening_line(addresses))
    tell(sys.stderr, behaviour(name).get("log", f"{name} says hello"))
    serve_readiness(name, ops)


def serve_readiness(name: str, ops: socket.socket) -> None:
    is_noted = False
    while True:
        connection, _ = ops.accept()
        with connection:
            connection.recv(4096)
            is_ready = not behaviour(name).get("unready")
            if is_ready and not is_noted:
                note(name, "ready")
                is_noted = True
            status = b"200 OK" if is_ready else b"503 Service Unavailable"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")


def stop(name: str) -> None:
    note(name, "stopping")
    if behaviour(name).get("deaf"):
        return
    time.sleep(behaviour(name).get("drain_s", 0))
    note(name, "stopped")
    sys.exit(0)


def behaviour(name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def tell(stream: TextIO, line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def note(name: str, event: str) -> None:
    with (DIRECTORY / "events").open("a") as events:
        events.write(f"{name} {event} {os.getpid()}\n")


def listen(address: str) -> socket.socket:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
    else:
        host, _, port = address.rpartition(":")
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
    listener.listen(64)
    return listener


def address_of(listener: socket.socket) -> str:
    name = listener.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"


if __name__ == "__main__":
    main(Path(__file__).parent.name.removeprefix("layer_"))
