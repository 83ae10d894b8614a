"""The records of one Aerospike namespace, with the server's rules for each command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from layer_cache_testing.aerospike_node.wire import (
    Answer,
    Command,
    Extras,
    FieldType,
    Reads,
    Result,
    Writes,
    partition_of,
)

EPOCH_S: Final = 1_262_304_000
"""Void times count from the start of 2010."""

TTL_DEFAULT: Final = 0
TTL_UNCHANGED: Final = 0xFFFFFFFE
TTL_NEVER: Final = 0xFFFFFFFF
GENERATION_MAX: Final = 0xFFFF
RECORD_OVERHEAD_BYTES: Final = 64
_EXPRESSION_EQUAL: Final = 1
_EXPRESSION_BIN: Final = 0x51
_PARTICLE_STRING: Final = 3


@dataclass(slots=True, kw_only=True)
class Record:
    """One record. Its bins are as they came over the wire."""

    set_name: str
    user_key: bytes
    bins: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    generation: int = 0
    void_time: int = 0


@dataclass(slots=True, kw_only=True)
class Records:
    """A namespace. Not safe for threads; the node takes a lock."""

    now_s: Callable[[], float]
    record_bytes_max: int = 1024 * 1024
    nsup_period_s: int = 120
    stop_writes: bool = False
    sets_max: int = 4095
    evicted_count: int = 0
    by_digest: dict[bytes, Record] = field(default_factory=dict)
    set_names: set[str] = field(default_factory=set)
    """Every set there has ever been; a server never forgets one."""

    def execute(self, command: Command) -> Answer:
        """Run a command on one record."""
        record = self._live(command.digest)
        if not command.is_write:
            return self._read(command, record)
        result = self._refusal(command, record)
        if result is Result.OK:
            result = self._write(command, record)
        written = self.by_digest.get(command.digest) if result is Result.OK else None
        return Answer(
            result=result,
            index=command.index,
            generation=written.generation if written else 0,
            void_time=written.void_time if written else 0,
        )

    def scan(self, command: Command, partitions: list[int]) -> Iterator[Answer]:
        """Yield the records of a set by partition, in no order that a client could use."""
        wanted = set(partitions)
        set_name = command.text(FieldType.SET)
        digests = sorted(digest for digest in self.by_digest if partition_of(digest) in wanted)
        for digest in digests:
            record = self._live(digest)
            if (
                record is not None
                and record.set_name == set_name
                and _passes(record, command.fields.get(FieldType.FILTER))
            ):
                yield _answer(command, digest, record)
        for partition in partitions:
            yield Answer(extras=Extras.PARTITION_DONE, generation=partition)

    def evict(self, count: int) -> None:
        """Drop the records that would expire first, as a node short of memory does."""
        mortal = [digest for digest, record in self.by_digest.items() if record.void_time]
        mortal.sort(key=lambda digest: self.by_digest[digest].void_time)
        for digest in mortal[:count]:
            del self.by_digest[digest]
            self.evicted_count += 1

    def _live(self, digest: bytes) -> Record | None:
        record = self.by_digest.get(digest)
        if record and record.void_time and record.void_time <= self.now_s() - EPOCH_S:
            del self.by_digest[digest]
            return None
        return record

    def _read(self, command: Command, record: Record | None) -> Answer:
        if record is None:
            return Answer(result=Result.NOT_FOUND, index=command.index)
        if not _passes(record, command.fields.get(FieldType.FILTER)):
            return Answer(result=Result.FILTERED_OUT, index=command.index)
        return _answer(command, command.digest, record)

    def _refusal(self, command: Command, record: Record | None) -> Result:
        is_delete = Writes.DELETE in command.writes
        if record is None and (
            is_delete or command.extras & (Extras.UPDATE_ONLY | Extras.REPLACE_ONLY)
        ):
            return Result.NOT_FOUND
        if not is_delete:
            if self.stop_writes:
                return Result.OUT_OF_SPACE
            mortal = command.ttl_s not in (TTL_DEFAULT, TTL_NEVER, TTL_UNCHANGED)
            if mortal and not self.nsup_period_s:
                return Result.FORBIDDEN
            self.set_names.add(command.text(FieldType.SET))
            if len(self.set_names) > self.sets_max:
                self.set_names.discard(command.text(FieldType.SET))
                return Result.PARAMETER
        if record is not None and Writes.CREATE_ONLY in command.writes:
            return Result.EXISTS
        generation = record.generation if record else 0
        if Writes.GENERATION_EQUAL in command.writes and command.generation != generation:
            return Result.GENERATION
        return Result.OK

    def _write(self, command: Command, record: Record | None) -> Result:
        if Writes.DELETE in command.writes:
            del self.by_digest[command.digest]
            return Result.OK
        is_replaced = command.extras & (Extras.CREATE_OR_REPLACE | Extras.REPLACE_ONLY)
        bins = {} if record is None or is_replaced else dict(record.bins)
        for operation in command.operations:
            if not operation.is_read:
                bins[operation.name] = (operation.particle, operation.value)
        size = RECORD_OVERHEAD_BYTES + sum(
            len(name) + len(value) + 6 for name, (_, value) in bins.items()
        )
        if size > self.record_bytes_max:
            return Result.RECORD_TOO_BIG
        previous = record.generation if record else 0
        self.by_digest[command.digest] = Record(
            set_name=command.text(FieldType.SET),
            user_key=command.fields.get(FieldType.KEY, record.user_key if record else b""),
            bins=bins,
            generation=1 if previous == GENERATION_MAX else previous + 1,
            void_time=self._void_time(command, record),
        )
        return Result.OK

    def _void_time(self, command: Command, record: Record | None) -> int:
        if command.ttl_s == TTL_UNCHANGED and record is not None:
            return record.void_time
        if command.ttl_s in (TTL_DEFAULT, TTL_NEVER, TTL_UNCHANGED):
            return 0
        return int(self.now_s()) - EPOCH_S + command.ttl_s


def _answer(command: Command, digest: bytes, record: Record) -> Answer:
    wanted = {operation.name for operation in command.operations}
    fields = [(FieldType.SET, record.set_name.encode()), (FieldType.DIGEST, digest)]
    if record.user_key:
        fields.append((FieldType.KEY, record.user_key))
    return Answer(
        generation=record.generation,
        void_time=record.void_time,
        index=command.index,
        fields=fields,
        bins=[
            (name, particle, value)
            for name, (particle, value) in record.bins.items()
            if Reads.NO_BINS not in command.reads and (not wanted or name in wanted)
        ],
    )


def _passes(record: Record, expression: bytes | None) -> bool:
    """Evaluate the one kind of expression that the cache sends: a text bin equals a value."""
    if expression is None:
        return True
    operator, (bin_operator, _, name), value = msgspec.msgpack.decode(expression)
    assert (operator, bin_operator) == (_EXPRESSION_EQUAL, _EXPRESSION_BIN), "not understood"
    return record.bins.get(name) == (_PARTICLE_STRING, value[1:].encode())
