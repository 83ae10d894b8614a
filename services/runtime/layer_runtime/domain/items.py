"""Items: rows that wait for a function, and what is known of them while they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.markers import PARENT, PLACE

ITEMS_PER_CALL_MAX: Final = 1000
MESSAGE_LENGTH_MAX: Final = 1024
LEASE_S_MAX: Final = 86_400
LEASE_LOST: Final = "its worker went silent"

Value = bytes
"""The value of an attribute as the gateway takes and gives it; nothing here looks into it."""

Scalar = str | int | None
"""The value of an attribute that layer itself reads and writes."""


@dataclass(frozen=True, slots=True)
class ItemKey:
    """Names an item within the queue of a function."""

    namespace: str
    id: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """An item that a claim has just taken."""

    key: ItemKey
    lease: int
    generation: int
    is_forced: bool
    done_digest: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A row of a document, as the function gets it."""

    id: str
    place: int
    inputs: Mapping[str, Value | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An item with what the function needs to process it."""

    key: ItemKey
    lease: int
    inputs: Mapping[str, Value | None]
    """None where the row lacks it."""
    digest: bytes
    """Of the inputs, those of the pages among them."""
    pages: Sequence[Page] = ()
    """The rows of an item that is a document."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was given out of an item, to be remembered until its result comes."""

    key: ItemKey
    stamp_ms: int | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """An item that a worker holds."""

    key: ItemKey
    lease: int
    attempts: int
    generation: int
    was_written: bool
    """Whether a write of its row was told of since it was claimed."""
    version: str
    stamp_ms: int | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reference:
    """An item as a worker names it; token 0 stands for any claim of the worker's."""

    key: ItemKey
    lease: int = 0
    digest: bytes = b""
    """Of the inputs that the worker says it had; empty where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a worker made of an item."""

    item: Reference
    attributes: Mapping[str, Value]
    vector: Value = b""
    vectors: Value = b""
    revision: str = ""
    """The inputs that it was made from, as the worker says; empty where it does not."""

    def is_made_from(self, digest: bytes) -> bool:
        """Tell whether it may be of inputs with this digest, by what the worker says."""
        return self.item.digest in (b"", digest) and self.revision in ("", digest.hex())

    @property
    def has_vector(self) -> bool:
        return bool(self.vector or self.vectors)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a worker says of an item that it could not process."""

    item: Reference
    is_permanent: bool
    message: str
    is_release: bool = False
    """The worker gives it back untried, because it stops."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an item that failed."""

    key: ItemKey
    lease: int
    attempts: int
    pause_s: float | None
    """None: it is given up."""
    message: str | None


class Disposition(StrEnum):
    """What became of a result."""

    COMPLETED = "completed"
    GONE = "gone"
    """There is no such row any more."""
    STALE = "stale"
    """The inputs are others by now, and the item waits again."""
    REFUSED = "refused"
    """The store does not take it, and the item has failed."""
    NOT_HELD = "not_held"
    SUPERSEDED = "superseded"
    """A later result of the same call is of the same item."""

    @property
    def is_accepted(self) -> bool:
        return self in {Disposition.COMPLETED, Disposition.GONE, Disposition.STALE}


class ItemState(StrEnum):
    """Where an item is."""

    PENDING = "pending"
    PROCESSING = "processing"
    FAILED = "failed"
    COMPLETED = "completed"
    """Not in the queue, and its row is marked."""
    DUE = "due"
    """Not in the queue, and its row is not."""
    ABSENT = "absent"
    """Not in the queue, and without a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """What is known of an item."""

    key: ItemKey
    state: ItemState
    lease: int = 0
    attempts: int = 0
    message: str = ""
    worker: str = ""
    claimable_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that was given up."""

    key: ItemKey
    message: str
    attempts: int
    failed_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it is now."""

    id: str
    attributes: Mapping[str, Value]
    scalars: Mapping[str, Scalar] = field(default_factory=dict)


def input_digest(inputs: Mapping[str, Value]) -> bytes:
    """Return what two sets of inputs of a row have in common exactly when they are the same."""
    digest = blake2b(digest_size=16)
    for name in sorted(inputs.keys() - {"id"}):  # which never changes
        for part in (name.encode(), inputs[name]):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.digest()


def document_digest(pages: Sequence[Page]) -> bytes:
    """Return what two states of a document have in common exactly when its pages are the same."""
    digest = blake2b(digest_size=16)
    for page in pages:
        inputs = {name: value for name, value in page.inputs.items() if value is not None}
        for part in (page.id.encode(), input_digest(inputs)):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.digest()


def parent_of(row: Row) -> str:
    """Return the document that a row is a part of; one that says none is its own."""
    parent = row.scalars.get(PARENT)
    return row.id if parent is None else str(parent)


def place_of(row: Row) -> int:
    """Return where in its document a row is."""
    place = row.scalars.get(PLACE)
    return place if isinstance(place, int) else 0


def check_count(items: Sequence[object]) -> None:
    """Check how many items one call has.

    Raises:
        InvalidRequestError: ``TOO_MANY_ITEMS``.
    """
    if not 1 <= len(items) <= ITEMS_PER_CALL_MAX:
        raise InvalidRequestError(
            "TOO_MANY_ITEMS",
            f"{len(items)} items in one call; send 1 to {ITEMS_PER_CALL_MAX}.",
            field="items",
            count=len(items),
            count_max=ITEMS_PER_CALL_MAX,
        )
