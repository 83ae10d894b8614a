"""Snapshots: what they say, the hash that names them, and their text in the object store."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import msgspec

from layer_kit.errors import UpstreamError
from layer_snapshots.domain.limits import DISTINCT_MAX, TEXT_BYTES_MAX
from layer_wire.facets import Facet

SHORT_SHA_LENGTH: Final = 7


class ValueCount(msgspec.Struct, frozen=True):
    """How many rows have a value."""

    v: str
    n: int


class Field(msgspec.Struct, frozen=True):
    """The histogram of a field; values ascend."""

    name: str
    values: Sequence[ValueCount]


class SkippedField(msgspec.Struct, frozen=True, kw_only=True):
    """A field that has too many values for a histogram."""

    name: str
    reason: Literal["exceeded_cap"] = "exceeded_cap"
    distinct_observed: int
    cap: int


class Content(msgspec.Struct, frozen=True):
    """What was counted; fields of both kinds are by name."""

    fields: Sequence[Field]
    fields_skipped: Sequence[SkippedField]
    row_count: int

    @property
    def sha(self) -> str:
        """Return the SHA-256 of the canonical text, in which keys are alphabetical everywhere."""
        return hashlib.sha256(canonical(self)).hexdigest()


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot as it is stored; fields are in the order of the stored text."""

    namespace: str
    watermark_ms: int
    sha: str
    row_count: int | None = None
    fields: Sequence[Field]
    fields_skipped: Sequence[SkippedField] = ()


_CANONICAL: Final = msgspec.json.Encoder(order="sorted")
_BODY: Final[msgspec.json.Decoder[Body]] = msgspec.json.Decoder(Body)


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that was read."""

    body: Body
    size_bytes: int
    """Of its text."""

    @property
    def short_sha(self) -> str:
        return self.body.sha[:SHORT_SHA_LENGTH]

    @cached_property
    def field_names(self) -> frozenset[str]:
        """Names of the fields that were counted, whether or not they have a histogram."""
        counted = {field.name for field in self.body.fields}
        return frozenset(counted.union(field.name for field in self.body.fields_skipped))

    @cached_property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Rows by value, by field."""
        return {
            field.name: {value.v: value.n for value in field.values} for field in self.body.fields
        }

    def selected(self, names: Collection[str]) -> Body:
        """Return the body with the fields of these names alone; none named means all."""
        if not names:
            return self.body
        return msgspec.structs.replace(
            self.body,
            fields=[field for field in self.body.fields if field.name in names],
            fields_skipped=[field for field in self.body.fields_skipped if field.name in names],
        )


class Counting:
    """Counts rows by the values of some fields, in memory with a bound."""

    def __init__(self, fields: Iterable[str]) -> None:
        self.fields = sorted(set(fields))
        self.row_count = 0
        self._facets: dict[str, Facet] = {}

    def add(self, row_count: int, columns: Sequence[tuple[bytes, str]]) -> None:
        """Count a page of rows.

        Args:
            columns: For each of ``fields``, the JSON array of its values and its type.

        Raises:
            UpstreamError: ``UPSTREAM_UNREADABLE``.
        """
        self.row_count += row_count
        for name, (values, type_) in zip(self.fields, columns, strict=True):
            facet = self._facets.get(name)
            if facet is None:
                facet = Facet(type_, distinct_max=DISTINCT_MAX, bytes_max=TEXT_BYTES_MAX)
                self._facets[name] = facet
            facet.add_list(values)

    def content(self) -> Content:
        """Return what was counted so far."""
        fields, skipped = [], []
        for name in self.fields:
            facet = self._facets.get(name)
            if facet is None:
                fields.append(Field(name, []))
            elif facet.is_truncated:
                skipped.append(
                    SkippedField(
                        name=name, distinct_observed=facet.distinct_count, cap=DISTINCT_MAX
                    )
                )
            else:
                values = [ValueCount(v, n) for v, n in sorted(facet.counts.items())]
                fields.append(Field(name, values))
        return Content(fields, skipped, self.row_count)


def content_of(
    name: str, counts: Mapping[str, int], *, row_count: int, distinct_count: int, is_truncated: bool
) -> Content:
    """Return the content of one field that was counted elsewhere."""
    if is_truncated:
        skipped = SkippedField(name=name, distinct_observed=distinct_count, cap=DISTINCT_MAX)
        return Content([], [skipped], row_count)
    values = [ValueCount(v, n) for v, n in sorted(counts.items())]
    return Content([Field(name, values)], [], row_count)


def canonical(content: Content) -> bytes:
    """Return the text that is hashed: compact JSON, keys alphabetical, nothing escaped in vain."""
    return _CANONICAL.encode(content)


def body_of(namespace: str, watermark_ms: int, content: Content) -> Body:
    return Body(
        namespace=namespace,
        watermark_ms=watermark_ms,
        sha=content.sha,
        row_count=content.row_count,
        fields=content.fields,
        fields_skipped=content.fields_skipped,
    )


def write_body(body: Body) -> bytes:
    """Return the stored text: JSON with an indent of two spaces."""
    return msgspec.json.format(msgspec.json.encode(body), indent=2)


def read_body(text: bytes) -> Snapshot:
    """Read a stored text.

    Raises:
        UpstreamError: ``SNAPSHOT_UNREADABLE``.
    """
    try:
        return Snapshot(_BODY.decode(text), len(text))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamError(
            "SNAPSHOT_UNREADABLE", f"A stored snapshot is not readable: {error}."
        ) from error
