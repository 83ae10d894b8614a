"""Reading searches out of query bodies (docs/reference/http.md, "Hybrid text" and "Auto")."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from typing import Annotated, Final, Literal

import msgspec
from msgspec import structs

from layer_kit.errors import InvalidRequestError
from layer_wire.jsontext import (
    ABSENT,
    Raw,
    RawObject,
    decode,
    decode_list,
    encode,
    is_null,
    raw,
)
from layer_wire.queries import (
    UPSTREAM_ROWS_MAX,
    VECTOR_ATTRIBUTE,
    LayerQuery,
    checked_top_k,
    consistency_level,
    layer_query,
    rank_by_vector,
    without_vector,
    written_span,
)
from layer_wire.searches import (
    RANK_CONSTANT_DEFAULT,
    THREADS_DEFAULT,
    THREADS_MAX,
    AutoSearch,
    Fuzziness,
    Scope,
    SearchRoute,
    StopWords,
    TextSearch,
)
from layer_wire.vectors import check_vector

TEXT_LENGTH_MAX: Final = 8192
STOP_WORDS_COUNT_MAX: Final = 1000
RANK_CONSTANT_MAX: Final = 1_000_000

Query = LayerQuery | TextSearch | AutoSearch
"""A query that layer answers itself."""

_FORM: Final = re.compile(rb'\[\s*"(?:[^"\\]|\\.)*"\s*,\s*"(HybridText|Auto)"')
"""The beginning of a ``rank_by`` of layer's own; spares reading what follows."""

_HYBRID_TEXT: Final = raw("HybridText")
_EMBED: Final = raw("Embed")


class _SearchBody(msgspec.Struct):
    rank_by: list[Raw]
    vector: Raw = ABSENT
    nearest_to_id: Raw = ABSENT
    top_k: int | None = None
    filters: Raw = ABSENT
    as_of: int | None = None
    between: tuple[int, int] | None = None
    include_attributes: bool | list[str] | None = None
    include_leg_breakdown: bool | None = None
    cursor: str | None = None
    consistency: Raw = ABSENT


_StopWords = Literal["en"] | bool | list[str] | None


class _TextOptions(msgspec.Struct, forbid_unknown_fields=True):
    fuzziness: Fuzziness | None = None
    stopwords: _StopWords = None
    rank_constant: Annotated[int, msgspec.Meta(ge=1, le=RANK_CONSTANT_MAX)] | None = None
    per_leg_limit: Annotated[int, msgspec.Meta(ge=1, le=UPSTREAM_ROWS_MAX)] | None = None
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _AutoOptions(msgspec.Struct, forbid_unknown_fields=True):
    route: Literal["auto", "hybrid_text", "semantic", "fused"] | None = None
    vector: Raw = ABSENT
    fuzziness: Fuzziness | None = None
    stopwords: _StopWords = None


class _EmbedOptions(msgspec.Struct, forbid_unknown_fields=True):
    field: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None


class _Offset(msgspec.Struct):
    offset: Annotated[int, msgspec.Meta(ge=0)]


_SEARCH_BODY: Final[msgspec.json.Decoder[_SearchBody]] = msgspec.json.Decoder(_SearchBody)
_TEXT: Final[msgspec.json.Decoder[str]] = msgspec.json.Decoder(
    Annotated[str, msgspec.Meta(max_length=TEXT_LENGTH_MAX)]
)
_FIELD: Final[msgspec.json.Decoder[str]] = msgspec.json.Decoder(
    Annotated[str, msgspec.Meta(min_length=1)]
)
_TEXT_OPTIONS: Final[msgspec.json.Decoder[_TextOptions]] = msgspec.json.Decoder(_TextOptions)
_AUTO_OPTIONS: Final[msgspec.json.Decoder[_AutoOptions]] = msgspec.json.Decoder(_AutoOptions)
_EMBED_START: Final = re.compile(rb'\[\s*"')
_EMBED_OPTIONS: Final[msgspec.json.Decoder[_EmbedOptions]] = msgspec.json.Decoder(_EmbedOptions)
_OFFSET: Final[msgspec.json.Decoder[_Offset]] = msgspec.json.Decoder(_Offset)


def is_search(fields: RawObject) -> bool:
    """Tell whether a query is a search, so that :func:`parse_search` reads it."""
    return "rank_by" in fields and _FORM.match(fields["rank_by"]) is not None


def parse_query(body: bytes, fields: RawObject) -> Query:
    """Check a query of whatever form; errors as for the parser of that form.

    Args:
        fields: The fields of ``body``.
    """
    return parse_search(body) if is_search(fields) else layer_query(fields)


def with_consistency(query: Query, level: Literal["eventual", "strong"]) -> Query:
    """Return ``query`` at another level of consistency."""
    if isinstance(query, LayerQuery):
        return structs.replace(query, consistency=level)
    return with_scope(query, replace(scope_of(query), consistency=level))


def with_scope(query: TextSearch | AutoSearch, scope: Scope) -> TextSearch | AutoSearch:
    """Return a search in another scope."""
    if isinstance(query, TextSearch):
        return replace(query, scope=scope)
    return replace(query, text_search=replace(query.text_search, scope=scope))


def scope_of(query: TextSearch | AutoSearch) -> Scope:
    """Return the scope of a search."""
    return query.scope if isinstance(query, TextSearch) else query.text_search.scope


def parse_search(body: bytes) -> TextSearch | AutoSearch:
    """Check a search.

    Raises:
        MalformedRequestError: ``JSON_MALFORMED``.
        InvalidRequestError: Naming the field that is wrong.
    """
    found = decode(_SEARCH_BODY, body)
    for source, value in (("vector", found.vector), ("nearest_to_id", found.nearest_to_id)):
        if not is_null(value):
            raise InvalidRequestError(
                "QUERY_SOURCE", f"{source} does not go with a search by rank_by.", field=source
            )
    match found.rank_by:
        case [name, form, input_]:
            options = ABSENT
        case [name, form, input_, options]:
            pass
        case _:
            raise InvalidRequestError(
                "RANK_BY_INVALID",
                "rank_by of a search is [field, form, text] or [field, form, text, options].",
                field="rank_by",
            )
    field = decode(_FIELD, name, what="rank_by[0]")
    text = decode(_TEXT, input_, what="rank_by[2]")
    read = _text_search if form == _HYBRID_TEXT else _auto_search
    return read(_scope(found), field, text, options)


def parse_offset(cursor: str | None, top_k: int) -> int:
    """Read where a page begins out of the cursor of the page before.

    Raises:
        InvalidRequestError: ``CURSOR_INVALID``, or ``PAGE_TOO_DEEP``.
    """
    offset = 0 if cursor is None else _decoded_offset(cursor)
    if offset + top_k > UPSTREAM_ROWS_MAX:
        raise InvalidRequestError(
            "PAGE_TOO_DEEP",
            f"A page ends at row {UPSTREAM_ROWS_MAX} at most; ask for fewer rows with top_k.",
            field="top_k" if cursor is None else "cursor",
        )
    return offset


def encode_offset(offset: int) -> str:
    """Return the cursor of a page that begins there."""
    return base64.urlsafe_b64encode(encode({"offset": offset})).rstrip(b"=").decode()


def _decoded_offset(cursor: str) -> int:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return _OFFSET.decode(base64.b64decode(padded, altchars=b"-_", validate=True)).offset
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise InvalidRequestError(
            "CURSOR_INVALID", "cursor is not one that such a search returned.", field="cursor"
        ) from error


def _scope(found: _SearchBody) -> Scope:
    include, drops_vector = without_vector(found.include_attributes)
    return Scope(
        top_k=checked_top_k(found.top_k),
        filter=None if is_null(found.filters) else found.filters,
        written=written_span(found.as_of, found.between),
        include_attributes=include,
        drops_vector=drops_vector,
        with_leg_breakdown=bool(found.include_leg_breakdown),
        cursor=found.cursor,
        consistency=consistency_level(found.consistency),
    )


def _text_search(scope: Scope, field: str, text: str, options: Raw) -> TextSearch:
    found = _TextOptions()
    if not is_null(options):
        found = decode(_TEXT_OPTIONS, options, what="rank_by[3]")
    return TextSearch(
        scope=scope,
        field=field,
        text=text,
        fuzziness="auto" if found.fuzziness is None else found.fuzziness,
        stop_words=_stop_words(found.stopwords),
        rank_constant=found.rank_constant or RANK_CONSTANT_DEFAULT,
        per_leg_limit=found.per_leg_limit,
        threads=min(found.threads or THREADS_DEFAULT, THREADS_MAX),
    )


def _auto_search(scope: Scope, field: str, text: str, options: Raw) -> AutoSearch:
    found = _AutoOptions()
    if not is_null(options):
        found = decode(_AUTO_OPTIONS, options, what="rank_by[3]")
    return AutoSearch(
        text_search=TextSearch(
            scope=scope,
            field=field,
            text=text,
            fuzziness="auto" if found.fuzziness is None else found.fuzziness,
            stop_words=_stop_words(found.stopwords),
        ),
        route=None if found.route in (None, "auto") else SearchRoute(found.route),
        rank_by=None if is_null(found.vector) else _semantic(found.vector),
    )


def _semantic(vector: Raw) -> Raw:
    """Return the ranking by a vector, or by a text that the store turns into one."""
    if _EMBED_START.match(vector) is None:
        check_vector("vector", vector, "rank_by[3]")
        return rank_by_vector(vector)
    match decode_list(vector):
        case [name, text] if name == _EMBED:
            options = _EmbedOptions()
        case [name, text, given] if name == _EMBED:
            options = decode(_EMBED_OPTIONS, given, what="rank_by[3].vector[2]")
        case _:
            raise InvalidRequestError(
                "VECTOR_INVALID",
                'rank_by[3].vector is a vector, or ["Embed", text] with or without options.',
                field="rank_by[3].vector",
            )
    decode(_TEXT, text, what="rank_by[3].vector[1]")
    named = [{"model": options.model}] if options.model else []
    return raw([options.field or VECTOR_ATTRIBUTE, "ANN", [name, text, *named]])


def _stop_words(found: _StopWords) -> StopWords:
    match found:
        case None | "en":
            return "en"
        case False:
            return False
        case [*words] if len(words) <= STOP_WORDS_COUNT_MAX:
            return [word.lower() for word in words]
        case _:
            raise InvalidRequestError(
                "STOP_WORDS_INVALID",
                f'stopwords is "en", false, or a list of at most {STOP_WORDS_COUNT_MAX} words.',
                field="rank_by[3].stopwords",
            )
