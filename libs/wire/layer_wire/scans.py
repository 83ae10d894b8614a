"""Scans: which rows, how many, which values; what a caller may ask and how it is checked.

docs/reference/http.md, "Scans" has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_wire.filters import Filter, Written
from layer_wire.jsontext import ABSENT, Raw, decode, encode, is_null
from layer_wire.queries import VECTOR_ATTRIBUTE, written_span
from layer_wire.search_bodies import TEXT_LENGTH_MAX
from layer_wire.searches import THREADS_MAX, Fuzziness
from layer_wire.vectors import check_vector

PAGE_SIZE_DEFAULT: Final = 1000
PAGE_SIZE_MAX: Final = 10_000
TIMEOUT_S_DEFAULT: Final = 30
TIMEOUT_S_MAX: Final = 300


class ScanMode(StrEnum):
    """What of the rows is wanted; the value is the contract's."""

    IDS = "ids"
    COUNT = "count"
    VALUES = "values"


class ScanSource(StrEnum):
    """Where rows are read; the value is the contract's."""

    AUTO = "auto"
    SNAPSHOT = "snapshot"
    CACHE = "cache"
    ORIGIN = "origin"


_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LENGTH_MAX)]


class TextSelector(msgspec.Struct, frozen=True, kw_only=True):
    """Selects rows that have a word of a text."""

    field: _Name
    query: _Text


class HybridSelector(msgspec.Struct, frozen=True, kw_only=True):
    """Selects rows that have a word of a text, or something like one."""

    field: _Name
    query: _Text
    fuzziness: Fuzziness | None = None

    @property
    def edits_max(self) -> int:
        """Return how many edits the longest words are forgiven."""
        return 2 if self.fuzziness is None or self.fuzziness == "auto" else self.fuzziness


class DistanceSelector(msgspec.Struct, frozen=True, kw_only=True):
    """Selects rows within a distance, both ends included."""

    vector: Raw
    radius: float
    field: _Name = VECTOR_ATTRIBUTE


Selector = TextSelector | HybridSelector | DistanceSelector
"""Selects rows by a ranking of the store's; without one, the filter alone does."""

_SELECTORS: Final[Mapping[type[Selector], str]] = {
    TextSelector: "fts",
    DistanceSelector: "ann",
    HybridSelector: "hybrid_text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A checked scan."""

    mode: ScanMode = ScanMode.IDS
    source: ScanSource = ScanSource.AUTO
    filter: Filter | None = None
    """The caller's."""
    written: Written | None = None
    """When the rows wanted were written last."""
    selector: Selector | None = None
    field: str = ""
    """The attribute whose values are wanted; empty in every other mode."""
    is_exhaustive: bool = False
    threads: int | None = None
    """Requests at once; None leaves it to the namespace."""
    page_size: int = PAGE_SIZE_DEFAULT
    timeout_s: int | None = None
    """None where the caller did not say: a count then has ``TIMEOUT_S_DEFAULT``."""


class _ScanBody(msgspec.Struct):
    mode: ScanMode | None = None
    source: ScanSource | None = None
    filters: Raw = ABSENT
    as_of: int | None = None
    between: tuple[int, int] | None = None
    fts: TextSelector | None = None
    ann: DistanceSelector | None = None
    hybrid_text: HybridSelector | None = None
    field: str | None = None
    exhaustive: bool | None = None
    threads: int | None = None
    page_size: int | None = None
    timeout_seconds: int | None = None


_SCAN_BODY: Final[msgspec.json.Decoder[_ScanBody]] = msgspec.json.Decoder(_ScanBody)


def parse_scan(body: bytes) -> Scan:
    """Check the body of a scan.

    Raises:
        MalformedRequestError: ``JSON_MALFORMED``.
        InvalidRequestError: Naming the field that is wrong.
    """
    found = decode(_SCAN_BODY, body)
    given = (found.fts, found.ann, found.hybrid_text)
    chosen = [selector for selector in given if selector is not None]
    if len(chosen) > 1:
        names = list(map(selector_name, chosen))
        raise InvalidRequestError(
            "SELECTORS_TOO_MANY",
            f"A scan has one ranked selector at most, and not {' and '.join(names)}.",
            field=names[1],
        )
    return checked(
        Scan(
            mode=found.mode or ScanMode.IDS,
            source=found.source or ScanSource.AUTO,
            filter=None if is_null(found.filters) else found.filters,
            written=written_span(found.as_of, found.between),
            selector=next(iter(chosen), None),
            field=found.field or "",
            is_exhaustive=bool(found.exhaustive),
            threads=found.threads,
            page_size=PAGE_SIZE_DEFAULT if found.page_size is None else found.page_size,
            timeout_s=found.timeout_seconds,
        )
    )


def checked(scan: Scan) -> Scan:
    """Check what a scan asks for as a whole, and bring its numbers into their bounds.

    Raises:
        InvalidRequestError: ``FIELD_MISSING``, ``FIELD_UNUSED``, ``MODE_UNFIT``, ``SOURCE_UNFIT``,
            ``THREADS_RANGE``, ``PAGE_SIZE_RANGE``, ``TIMEOUT_RANGE`` or ``VECTOR_INVALID``.
    """
    _check_field(scan)
    _check_selector(scan)
    if scan.source is ScanSource.SNAPSHOT and scan.mode is ScanMode.IDS:
        raise InvalidRequestError(
            "SOURCE_UNFIT", "A snapshot has no ids; scan them from another source.", field="source"
        )
    if scan.threads is not None and scan.threads < 1:
        raise InvalidRequestError("THREADS_RANGE", "threads is at least 1.", field="threads")
    if not 1 <= scan.page_size <= PAGE_SIZE_MAX:
        raise InvalidRequestError(
            "PAGE_SIZE_RANGE", f"page_size must be 1 to {PAGE_SIZE_MAX}.", field="page_size"
        )
    if scan.timeout_s is not None and scan.timeout_s < 1:
        raise InvalidRequestError(
            "TIMEOUT_RANGE", "timeout_seconds is at least 1.", field="timeout_seconds"
        )
    return replace(
        scan,
        threads=None if scan.threads is None else min(scan.threads, THREADS_MAX),
        timeout_s=None if scan.timeout_s is None else min(scan.timeout_s, TIMEOUT_S_MAX),
    )


def _check_field(scan: Scan) -> None:
    if scan.mode is ScanMode.VALUES and not scan.field.strip():
        raise InvalidRequestError(
            "FIELD_MISSING", "field names the attribute whose values are wanted.", field="field"
        )
    if scan.mode is not ScanMode.VALUES and scan.field:
        raise InvalidRequestError(
            "FIELD_UNUSED", f"field goes with mode values, and not with {scan.mode}.", field="field"
        )


def _check_selector(scan: Scan) -> None:
    if scan.selector is None:
        return
    if scan.mode is ScanMode.IDS:
        raise InvalidRequestError(
            "MODE_UNFIT", "A ranked selector counts rows or values; it lists no ids.", field="mode"
        )
    if scan.source in (ScanSource.SNAPSHOT, ScanSource.CACHE):
        raise InvalidRequestError(
            "SOURCE_UNFIT",
            f"A ranked selector is the store's alone; source {scan.source} has none.",
            field="source",
        )
    if isinstance(scan.selector, DistanceSelector):
        if is_null(scan.selector.vector):
            raise InvalidRequestError(
                "VECTOR_INVALID", "ann.vector is missing.", field="ann.vector"
            )
        check_vector("vector", scan.selector.vector, "ann")


def selector_name(selector: Selector | None) -> str:
    """Return how the contract calls a selector: ``filter`` where there is none."""
    return "filter" if selector is None else _SELECTORS[type(selector)]


def scan_body(scan: Scan) -> bytes:
    """Return the body of a scan, which :func:`parse_scan` reads as the same scan."""
    written = scan.written
    body: dict[str, object] = {
        "mode": scan.mode,
        "source": scan.source,
        "filters": scan.filter,
        "field": scan.field or None,
        "exhaustive": scan.is_exhaustive,
        "threads": scan.threads,
        "page_size": scan.page_size,
        "timeout_seconds": scan.timeout_s,
    }
    if written is not None and written.after_ms is not None:
        body["between"] = (written.after_ms, written.until_ms)
    elif written is not None:
        body["as_of"] = written.until_ms
    if scan.selector is not None:
        body[selector_name(scan.selector)] = scan.selector
    return encode(body)
