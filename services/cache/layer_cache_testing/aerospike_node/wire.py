"""The messages of Aerospike's client protocol: what a node reads and writes.

A message is a header of 8 bytes (version, type, size) and a body. Info bodies are text, commands
are a fixed header followed by fields and operations.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

PROTOCOL_VERSION: Final = 2
TYPE_INFO: Final = 1
TYPE_COMMAND: Final = 3
PARTITIONS_COUNT: Final = 4096

_HEADER: Final = struct.Struct(">BBBBBBIIIHH")
_FIELD: Final = struct.Struct(">IB")
_OPERATION: Final = struct.Struct(">IBBBB")
_OPERATION_FIXED_BYTES: Final = 4
_READ_OPERATION: Final = 1
_DIGEST_BYTES: Final = 20


class Reads(IntFlag):
    """The first byte of flags."""

    READ = 1
    ALL_BINS = 2
    BATCH = 8
    NO_BINS = 32


class Writes(IntFlag):
    """The second byte of flags."""

    WRITE = 1
    DELETE = 2
    GENERATION_EQUAL = 4
    CREATE_ONLY = 32


class Extras(IntFlag):
    """The third byte of flags."""

    LAST = 1
    PARTITION_DONE = 4
    UPDATE_ONLY = 8
    CREATE_OR_REPLACE = 16
    REPLACE_ONLY = 32


class FieldType(IntEnum):
    """What a field of a command holds."""

    NAMESPACE = 0
    SET = 1
    KEY = 2
    DIGEST = 4
    PARTITIONS = 11
    BATCH = 41
    FILTER = 43


class Result(IntEnum):
    """Result codes of a node."""

    OK = 0
    NOT_FOUND = 2
    GENERATION = 3
    PARAMETER = 4
    EXISTS = 5
    OUT_OF_SPACE = 8
    RECORD_TOO_BIG = 13
    NAMESPACE = 20
    FORBIDDEN = 22
    FILTERED_OUT = 27


@dataclass(frozen=True, slots=True)
class Operation:
    """A bin that is read, or written with a value of one of Aerospike's types."""

    is_read: bool
    name: str
    particle: int = 0
    value: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a client asks of one record, or of a set."""

    reads: Reads
    writes: Writes
    extras: Extras
    generation: int = 0
    ttl_s: int = 0
    fields: dict[int, bytes] = field(default_factory=dict)
    operations: Sequence[Operation] = ()
    digest: bytes = b""
    index: int = 0
    """Position within a batch."""

    def text(self, kind: FieldType) -> str:
        return self.fields.get(kind, b"").decode()

    @property
    def is_write(self) -> bool:
        return Writes.WRITE in self.writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A record, or the end of something, on its way to the client."""

    result: int = Result.OK
    extras: int = 0
    generation: int = 0
    void_time: int = 0
    index: int = 0
    fields: Sequence[tuple[FieldType, bytes]] = ()
    bins: Sequence[tuple[str, int, bytes]] = ()

    def to_bytes(self) -> bytes:
        header = _HEADER.pack(
            _HEADER.size,
            0,
            0,
            self.extras,
            0,
            self.result,
            self.generation,
            self.void_time,
            self.index,
            len(self.fields),
            len(self.bins),
        )
        parts = [header]
        for kind, value in self.fields:
            parts += (_FIELD.pack(len(value) + 1, kind), value)
        for name, particle, value in self.bins:
            raw = name.encode()
            size = _OPERATION_FIXED_BYTES + len(raw) + len(value)
            parts += (_OPERATION.pack(size, _READ_OPERATION, particle, 0, len(raw)), raw, value)
        return b"".join(parts)


def frame(kind: int, body: bytes) -> bytes:
    """Put the header in front of a body."""
    return bytes((PROTOCOL_VERSION, kind)) + len(body).to_bytes(6, "big") + body


def parse_command(body: bytes) -> Command:
    """Read a command on one record, on a set, or a batch."""
    _, one, two, three, _, _, generation, ttl_s, _, fields_count, operations_count = (
        _HEADER.unpack_from(body)
    )
    fields, position = _fields(body, _HEADER.size, fields_count)
    operations, _ = _operations(body, position, operations_count)
    return Command(
        reads=Reads(one),
        writes=Writes(two),
        extras=Extras(three),
        generation=generation,
        ttl_s=ttl_s,
        fields=fields,
        operations=operations,
        digest=fields.get(FieldType.DIGEST, b""),
    )


_BATCH_REPEATED: Final = 1
_BATCH_FLAGS: Final = 2
_BATCH_GENERATION: Final = 4
_BATCH_TTL: Final = 8


def batch_rows(batch: bytes) -> Iterator[Command]:
    """Read the commands of a batch; one may repeat everything but the digest of that before it."""
    count, position = int.from_bytes(batch[:4], "big"), 5
    previous = None
    for _ in range(count):
        index = int.from_bytes(batch[position : position + 4], "big")
        digest = batch[position + 4 : position + 4 + _DIGEST_BYTES]
        position += 4 + _DIGEST_BYTES
        layout = batch[position]
        position += 1
        if layout & _BATCH_REPEATED:
            assert previous is not None, "the first row of a batch cannot repeat another"
            command = previous
        else:
            command, position = _batch_row(batch, position, layout)
        previous = command
        yield Command(
            reads=command.reads,
            writes=command.writes,
            extras=command.extras,
            generation=command.generation,
            ttl_s=command.ttl_s,
            fields=command.fields,
            operations=command.operations,
            digest=digest,
            index=index,
        )


def _batch_row(batch: bytes, position: int, layout: int) -> tuple[Command, int]:
    assert layout & _BATCH_FLAGS, "batches of clients before batch-any are not understood"
    one, two, three = batch[position : position + 3]
    position += 3
    generation = ttl_s = 0
    if layout & _BATCH_GENERATION:
        generation = int.from_bytes(batch[position : position + 2], "big")
        position += 2
    if layout & _BATCH_TTL:
        ttl_s = int.from_bytes(batch[position : position + 4], "big")
        position += 4
    fields_count, operations_count = struct.unpack_from(">HH", batch, position)
    fields, position = _fields(batch, position + 4, fields_count)
    operations, position = _operations(batch, position, operations_count)
    command = Command(
        reads=Reads(one),
        writes=Writes(two),
        extras=Extras(three),
        generation=generation,
        ttl_s=ttl_s,
        fields=fields,
        operations=operations,
    )
    return command, position


def partition_of(digest: bytes) -> int:
    """Return the partition that a record belongs to."""
    return int.from_bytes(digest[:2], "little") % PARTITIONS_COUNT


def partitions_of(command: Command) -> list[int]:
    """Return the partitions that a scan asks for."""
    raw = command.fields.get(FieldType.PARTITIONS, b"")
    return [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]


def _fields(body: bytes, position: int, count: int) -> tuple[dict[int, bytes], int]:
    fields = {}
    for _ in range(count):
        size, kind = _FIELD.unpack_from(body, position)
        end = position + 4 + size
        fields[kind] = body[position + _FIELD.size : end]
        position = end
    return fields, position


def _operations(body: bytes, position: int, count: int) -> tuple[list[Operation], int]:
    operations = []
    for _ in range(count):
        size, code, particle, _, name_size = _OPERATION.unpack_from(body, position)
        name_end = position + _OPERATION.size + name_size
        end = position + 4 + size
        operations.append(
            Operation(
                code == _READ_OPERATION,
                body[position + _OPERATION.size : name_end].decode(),
                particle,
                body[name_end:end],
            )
        )
        position = end
    return operations, position
