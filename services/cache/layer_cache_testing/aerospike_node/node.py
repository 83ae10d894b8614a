"""The node itself: a TCP server with a thread per connection, and its faults."""

from __future__ import annotations

import base64
import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from layer_cache_testing.aerospike_node.records import Record, Records
from layer_cache_testing.aerospike_node.wire import (
    PARTITIONS_COUNT,
    TYPE_COMMAND,
    TYPE_INFO,
    Answer,
    Command,
    Extras,
    FieldType,
    Reads,
    Result,
    batch_rows,
    frame,
    parse_command,
    partitions_of,
)

NODE_NAME: Final = "BB9000000000001"
FLUSH_BYTES: Final = 64 * 1024
HEADER_BYTES: Final = 8


class AerospikeNode:
    """A cluster of one node with one namespace."""

    def __init__(
        self,
        *,
        namespace: str = "hevlayer",
        now_s: Callable[[], float] = time.time,
        build: str = "7.1.0.3",
        cluster_name: str = "",
    ) -> None:
        self.namespace = namespace
        self.build = build
        self.cluster_name = cluster_name
        self.records = Records(now_s=now_s)
        self.is_persistent = False
        self.is_silent = False
        """Takes requests and answers none."""

        self.rows_until_cut: int | None = None
        """How many rows of the next batch are carried out before the connection breaks."""

        self._may_write = threading.Event()
        self._may_write.set()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._handlers: list[threading.Thread] = []
        self._port = 0
        self.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen, on the same port as before if it was stopped."""
        self.cluster_key = secrets.token_hex(8).upper()
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=64)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Break all connections and refuse new ones. What was received is still carried out."""
        # A blocked accept holds the socket open until it is shut down.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop for good, without leaving a thread behind."""
        self._may_write.set()
        with contextlib.suppress(OSError):
            self.stop()
        for handler in self._handlers:
            handler.join(timeout=5)

    def forget(self) -> None:
        """Lose every record."""
        with self._lock:
            self.records.by_digest.clear()

    @contextlib.contextmanager
    def writes_held_up(self) -> Iterator[None]:
        """Carry out writes that arrive within the block only when it ends."""
        self._may_write.clear()
        try:
            yield
        finally:
            self._may_write.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            handler = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._handlers.append(handler)
            self._connections.add(connection)
            handler.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while (message := _receive(connection)) is not None:
                kind, body = message
                if self.is_silent:
                    continue
                if kind == TYPE_INFO:
                    connection.sendall(frame(TYPE_INFO, self._info(body)))
                else:
                    self._command(connection, parse_command(body))
        self._connections.discard(connection)

    def _command(self, connection: socket.socket, command: Command) -> None:
        if FieldType.BATCH in command.fields:
            self._batch(connection, list(batch_rows(command.fields[FieldType.BATCH])))
        elif FieldType.PARTITIONS in command.fields:
            with self._lock:
                answers = list(self.records.scan(command, partitions_of(command)))
            _send(connection, [*answers, Answer(extras=Extras.LAST)])
        else:
            answer = self._execute(command)
            if not command.is_write and Reads.READ in command.reads:
                answer = replace(answer, fields=())
            connection.sendall(frame(TYPE_COMMAND, answer.to_bytes()))

    def _batch(self, connection: socket.socket, commands: list[Command]) -> None:
        cut, self.rows_until_cut = self.rows_until_cut, None
        answers = [replace(self._execute(command), fields=()) for command in commands[:cut]]
        if cut is not None:
            _send(connection, answers)
            connection.shutdown(socket.SHUT_RDWR)
            return
        _send(connection, [*answers, Answer(extras=Extras.LAST)])

    def _execute(self, command: Command) -> Answer:
        if command.text(FieldType.NAMESPACE) != self.namespace:
            return Answer(result=Result.NAMESPACE, index=command.index)
        if command.is_write:
            self._may_write.wait()
        with self._lock:
            return self.records.execute(command)

    def _info(self, body: bytes) -> bytes:
        names = body.decode().split("\n")
        return "".join(f"{name}\t{self._info_value(name)}\n" for name in names if name).encode()

    def _info_value(self, name: str) -> str:
        if name.startswith("namespace/"):
            is_ours = name == f"namespace/{self.namespace}"
            return self._namespace_text() if is_ours else "type=unknown"
        if name == f"sets/{self.namespace}":
            return self._sets_text()
        owned = base64.b64encode(b"\xff" * (PARTITIONS_COUNT // 8)).decode()
        values = {
            "node": NODE_NAME,
            "build": self.build,
            "cluster-name": self.cluster_name or "null",
            "partition-generation": "1",
            "peers-generation": "1",
            "rebalance-generation": "1",
            "peers-clear-std": f"1,{self._port},[]",
            "replicas": f"{self.namespace}:0,1,{owned};",
            "statistics": f"cluster_size=1;cluster_key={self.cluster_key};uptime=1",
        }
        return values.get(name, "ERROR:4:unrecognized command")

    def _namespace_text(self) -> str:
        records = self.records
        values = {
            "objects": len(records.by_digest),
            "evicted_objects": records.evicted_count,
            "effective_replication_factor": 1,
            "stop_writes": str(records.stop_writes).lower(),
            "data_total_bytes": 1 << 30,
            "nsup-period": records.nsup_period_s,
            "allow-ttl-without-nsup": "false",
            "max-record-size": records.record_bytes_max,
            "storage-engine": "device" if self.is_persistent else "memory",
        }
        return ";".join(f"{name}={value}" for name, value in values.items())

    def _sets_text(self) -> str:
        counts: dict[str, list[int]] = {}
        with self._lock:
            for record in self.records.by_digest.values():
                counts.setdefault(record.set_name, []).append(_bytes(record))
        return ";".join(
            f"ns={self.namespace}:set={name}:objects={len(sizes)}:data_used_bytes={sum(sizes)}"
            for name, sizes in counts.items()
        )


def _bytes(record: Record) -> int:
    return sum(len(value) for _, value in record.bins.values())


def _receive(connection: socket.socket) -> tuple[int, bytes] | None:
    header = _receive_exactly(connection, HEADER_BYTES)
    if header is None:
        return None
    body = _receive_exactly(connection, int.from_bytes(header[2:], "big"))
    return None if body is None else (header[1], body)


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _send(connection: socket.socket, answers: list[Answer]) -> None:
    """Send answers in messages of a bounded size, as a node does."""
    buffer = bytearray()
    for answer in answers:
        buffer += answer.to_bytes()
        if len(buffer) >= FLUSH_BYTES:
            connection.sendall(frame(TYPE_COMMAND, bytes(buffer)))
            buffer.clear()
    if buffer:
        connection.sendall(frame(TYPE_COMMAND, bytes(buffer)))
