"""Where events lie in the object store.

    search-history/{namespace}/{date}/{first}-{last}-{origin}.jsonl       lines, oldest first
    search-history/{namespace}/{date}/{first}-{last}-{origin}.jsonl.gz    the same in gzip members
    search-history/{namespace}/{date}/{first}-{last}-{origin}.index       where its blocks are
    search-history/{namespace}/{date}/{nanoseconds}.jsonl                 one event, by others
    clickstream/…                                                        likewise
    history-policies/{namespace}.json

Dates are in UTC. ``first`` and ``last`` are nanoseconds since 1970 in 19 digits, so that names sort
by time; ``origin`` tells replicas apart and one segment of a replica from another. The layout with
one object an event is that of other gateways: it is read, never written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

from layer_history.domain.events import NANOSECONDS_PER_SECOND, Kind
from layer_kit.names import Namespace

POLICIES_FOLDER: Final = "history-policies"
INDEX_SUFFIX: Final = ".index"
LINES_SUFFIX: Final = ".jsonl"
PACKED_SUFFIX: Final = ".jsonl.gz"
DAY_NS: Final = 24 * 3600 * NANOSECONDS_PER_SECOND

_EPOCH: Final = date(1970, 1, 1)
_SEGMENT: Final = re.compile(r"([0-9]{19})-([0-9]{19})-([0-9a-z]+)(\.jsonl(?:\.gz)?)")
_SINGLE: Final = re.compile(r"([0-9]{1,19})\.jsonl")


class Stream(NamedTuple):
    """The events of one kind in one namespace."""

    kind: Kind
    namespace: Namespace

    @property
    def folder(self) -> str:
        return f"{self.kind.value}/{self.namespace}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentName:
    """An object that holds events, all of one day."""

    stream: Stream
    first_ns: int
    last_ns: int
    origin: str
    """Empty for an object that holds a single event."""
    suffix: str = LINES_SUFFIX

    @property
    def day(self) -> int:
        return day_of(self.first_ns)

    @property
    def key(self) -> str:
        return self._base + self.suffix

    @property
    def index_key(self) -> str:
        return self._base + INDEX_SUFFIX

    @property
    def is_packed(self) -> bool:
        return self.suffix == PACKED_SUFFIX

    @property
    def _base(self) -> str:
        folder = day_folder(self.stream, self.day)
        if not self.origin:
            return f"{folder}{self.first_ns}"
        return f"{folder}{self.first_ns:019d}-{self.last_ns:019d}-{self.origin}"


def parse_key(stream: Stream, key: str) -> SegmentName | None:
    """Return what holds events under ``key``; None for an index, and for what is not ours."""
    file = key.rpartition("/")[2]
    if found := _SEGMENT.fullmatch(file):
        name = SegmentName(
            stream=stream,
            first_ns=int(found[1]),
            last_ns=int(found[2]),
            origin=found[3],
            suffix=found[4],
        )
    elif found := _SINGLE.fullmatch(file):
        moment_ns = int(found[1])
        name = SegmentName(stream=stream, first_ns=moment_ns, last_ns=moment_ns, origin="")
    else:
        return None
    # A key that lies under another day, or spells its time in another way, is read under neither.
    return name if name.key == key else None


def policy_key(namespace: Namespace) -> str:
    return f"{POLICIES_FOLDER}/{namespace}.json"


def namespace_of_policy(key: str) -> str:
    return key.removeprefix(f"{POLICIES_FOLDER}/").removesuffix(".json")


def namespace_of_folder(kind: Kind, key: str) -> str:
    return key.removeprefix(f"{kind.value}/").partition("/")[0]


def day_of(time_ns: int) -> int:
    """Return the number of the day since 1970 that a moment is in."""
    return time_ns // DAY_NS


def day_folder(stream: Stream, day: int) -> str:
    return f"{stream.folder}/{_EPOCH + timedelta(days=day)}/"


def day_of_key(stream: Stream, key: str) -> int | None:
    """Return the day whose folder ``key`` lies in; None when it lies in none."""
    text = key.removeprefix(f"{stream.folder}/").partition("/")[0]
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        return None
