"""What a request says of the search session it belongs to: its trace, its text, its tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from layer_kit.errors import InvalidRequestError
from layer_kit.remembering import remembered_if_short
from layer_wire.traces import RANDOM_BITS, minted_trace_id, trace_id_of

TAGS_MAX: Final = 32
TAG_BYTES_MAX: Final = 128
TAGS_REMEMBERED_MAX: Final = 4096
REMEMBERED_TAGS_CHARACTERS_MAX: Final = 512
"""Longer lists are parsed each time, so that what is remembered stays below a few MiB."""

SEARCH_QUERY_HEADER: Final = "x-hevlayer-search-query"
TAG_HEADERS: Final = ("x-hevlayer-tags", "x-hevlayer-tag")
SPAN_BITS: Final = 64
_SPAN_DIGITS: Final = SPAN_BITS // 4
_HEX: Final = f"%0{(RANDOM_BITS + SPAN_BITS) // 4}x"

_TAG: Final = re.compile(r"[A-Za-z0-9:_\-./=+]+")


class Visit(NamedTuple):
    """One request of a session. A tuple, since one is made for every query and every fetch."""

    traceparent: str
    """The caller's, or one of layer's making."""
    trace_id: str
    """In lower case."""
    is_minted: bool
    """Whether the caller brought no valid trace, so that nobody can know this one yet."""
    raw_query: str
    """What the user typed; empty when the caller did not say."""
    tags: Sequence[str]


def read_visit(
    header: Callable[[str], str | None],
    *,
    epoch_s: Callable[[], int],
    random_bits: Callable[[int], int],
) -> Visit:
    """Read a request's headers, or its metadata.

    Raises:
        InvalidRequestError: ``TAG_INVALID`` or ``TOO_MANY_TAGS``.
    """
    session = read_session(header)
    return minted(session, epoch_s(), random_bits) if session.is_minted else session


def read_session(header: Callable[[str], str | None]) -> Visit:
    """Read what the headers say, whose trace is empty where they have none that is valid.

    Raises:
        InvalidRequestError: ``TAG_INVALID`` or ``TOO_MANY_TAGS``.
    """
    raw_query = header(SEARCH_QUERY_HEADER)
    tags, more_tags = header(TAG_HEADERS[0]), header(TAG_HEADERS[1])
    traceparent = header("traceparent")
    trace_id = trace_id_of(traceparent) if traceparent else None
    return Visit(
        traceparent if traceparent and trace_id else "",
        trace_id or "",
        trace_id is None,
        raw_query.strip() if raw_query else "",
        _tags(tags, more_tags) if tags or more_tags else (),
    )


def minted(session: Visit, epoch_s: int, random_bits: Callable[[int], int]) -> Visit:
    """Return a request of ``session`` with a trace of layer's making."""
    bits = random_bits(RANDOM_BITS + SPAN_BITS) | 1  # no span has the number zero
    digits = _HEX % bits
    trace_id = minted_trace_id(epoch_s, digits[:-_SPAN_DIGITS])
    traceparent = f"00-{trace_id}-{digits[-_SPAN_DIGITS:]}-01"
    return Visit(traceparent, trace_id, True, session.raw_query, session.tags)  # noqa: FBT003


def parse_tags(lists: Iterable[str | None]) -> Sequence[str]:
    """Return the tags of comma-separated lists: trimmed, sorted, each once.

    Raises:
        InvalidRequestError: ``TAG_INVALID`` or ``TOO_MANY_TAGS``.
    """
    found = {tag for text in lists if text for part in text.split(",") if (tag := part.strip())}
    if not found:
        return ()
    if len(found) > TAGS_MAX:
        raise InvalidRequestError(
            "TOO_MANY_TAGS",
            f"{len(found)} tags; the limit is {TAGS_MAX}.",
            field="tags",
            count=len(found),
            count_max=TAGS_MAX,
        )
    for tag in found:
        if len(tag) > TAG_BYTES_MAX or _TAG.fullmatch(tag) is None:
            raise tag_invalid(tag)
    return tuple(sorted(found))


def tag_invalid(tag: str) -> InvalidRequestError:
    """Return the error for what is no tag."""
    return InvalidRequestError(
        "TAG_INVALID",
        f"Tag {tag[:TAG_BYTES_MAX]!r} is not 1 to {TAG_BYTES_MAX} of [A-Za-z0-9:_-./=+].",
        field="tags",
        tag=tag[:TAG_BYTES_MAX],
    )


@remembered_if_short(count_max=TAGS_REMEMBERED_MAX, characters_max=REMEMBERED_TAGS_CHARACTERS_MAX)
def _tags(tags: str | None, more_tags: str | None) -> Sequence[str]:
    """Parse the tags of two headers, which clients repeat from one request to the next."""
    return parse_tags((tags, more_tags))
