"""Reads the bodies of query, multi-query, explain and recall requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from layer_vectorstore.domain.errors import RefusedError, json_kind, malformed
from layer_vectorstore.domain.filters import parse_filter
from layer_vectorstore.domain.highlighting import (
    FRAGMENTS_COUNT_MAX,
    FragmentBy,
    Highlight,
    Offsets,
)
from layer_vectorstore.domain.limits import LIMIT_MAX, OFFSET_MAX, QUERIES_COUNT_MAX
from layer_vectorstore.domain.query import (
    Aggregate,
    Count,
    Fusion,
    GroupKey,
    LimitPer,
    Query,
    QueryRequest,
    Selection,
    SumOf,
    VectorEncoding,
)
from layer_vectorstore.domain.ranking import (
    ByAttributes,
    ByVector,
    Score,
    parse_rank,
    parse_score,
)

RANK_CONSTANT_DEFAULT: Final = 60.0
FUSION_NUMBER_MAX: Final = 1e9
Body = Mapping[str, Any]


def parse_query_request(body: object) -> QueryRequest:
    """Read the body of a query; one with ``queries`` is a multi-query, whatever the URL says.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: For what is well formed and not possible.
    """
    fields = require_object(body)
    encoding: Any = fields.get("vector_encoding") or "float"
    if encoding not in get_args(VectorEncoding):
        raise malformed(
            "vector_encoding", f"unknown variant `{encoding}`, expected `float` or `base64`"
        )
    is_eventual = _parse_consistency(fields.get("consistency"))
    if fields.get("queries") is None:
        if fields.get("rerank_by") is not None:
            raise _reranker_refused()
        queries: tuple[Query, ...] = (parse_query(fields, ""),)
        fusion = None
    else:
        queries = _parse_queries(fields["queries"])
        fusion = _parse_fusion(fields, queries)
    return QueryRequest(
        queries=queries,
        is_multiple=fields.get("queries") is not None,
        fusion=fusion,
        vector_encoding=encoding,
        is_eventual=is_eventual,
    )


def parse_query(fields: Body, path: str) -> Query:
    """Read one query; ``path`` is what stands before its fields in an error."""
    rank = None
    if fields.get("rank_by") is not None:
        rank = parse_rank(fields["rank_by"], f"{path}rank_by")
    aggregates = _parse_aggregates(fields.get("aggregate_by"), f"{path}aggregate_by")
    if rank is None and not aggregates:
        raise RefusedError("RANK_MISSING", "💔 either rank_by or aggregate_by must be specified")
    limit, per = _parse_limit(fields, f"{path}limit")
    offset = _integer(fields.get("offset"), f"{path}offset", default=0)
    group_by = _parse_group_by(fields.get("group_by"), f"{path}group_by")
    if not 0 <= offset <= OFFSET_MAX:
        raise RefusedError("OFFSET_INVALID", f"💔 offset must be between 0 and {OFFSET_MAX}")
    query = Query(
        rank=rank,
        filter=None
        if fields.get("filters") is None
        else parse_filter(fields["filters"], f"{path}filters"),
        limit=limit,
        per=per,
        offset=offset,
        selection=_parse_selection(fields, path),
        aggregates=aggregates,
        group_by=group_by,
        computed=_parse_computed(fields.get("compute_attributes"), f"{path}compute_attributes"),
    )
    _check_together(query, fields)
    return query


def require_object(body: object, path: str = "") -> dict[str, Any]:
    if not isinstance(body, dict):
        raise malformed(path, f"invalid type: {json_kind(body)}, expected a map")
    return body


def _check_together(query: Query, fields: Body) -> None:
    """Refuse fields that cannot go together."""
    if query.aggregates:
        if query.rank is not None:
            raise RefusedError(
                "AGGREGATE_WITH_RANK", "💔 aggregate_by cannot be used together with rank_by"
            )
        if fields.get("include_attributes"):
            raise RefusedError(
                "AGGREGATE_WITH_ATTRIBUTES",
                "💔 aggregate_by cannot be used together with include_attributes",
            )
        if query.limit is not None and not query.group_by:
            raise RefusedError(
                "AGGREGATE_WITH_LIMIT",
                "💔 top_k is not supported in aggregation queries without group_by",
            )
        return
    if query.group_by:
        raise RefusedError("GROUP_WITHOUT_AGGREGATE", "💔 group_by needs aggregate_by")
    if query.limit is None:
        raise RefusedError("LIMIT_MISSING", "💔 rank_by queries must specify top_k or limit")
    if query.per is not None and not isinstance(query.rank, ByAttributes):
        raise RefusedError(
            "LIMIT_PER_UNSUPPORTED",
            "💔 `limit.per` is only supported when ranking by an attribute",
        )
    if isinstance(query.rank, ByVector) and query.rank.is_exact and query.filter is None:
        raise RefusedError("KNN_WITHOUT_FILTERS", "💔 kNN requires filters")


def _parse_consistency(value: object) -> bool:
    """Return whether slightly old rows will do."""
    match value:
        case None:
            return False
        case {"level": str(level), **_rest} if level in ("strong", "eventual"):
            return level == "eventual"
        case {"level": level, **_rest}:
            raise malformed(
                "consistency.level", f"unknown variant `{level}`, expected `strong` or `eventual`"
            )
        case dict():
            return False
        case _:
            raise malformed(
                "consistency", f"invalid type: {json_kind(value)}, expected struct Consistency"
            )


def _parse_limit(fields: Body, path: str) -> tuple[int | None, LimitPer | None]:
    value = fields.get("top_k") if fields.get("limit") is None else fields["limit"]
    match value:
        case None:
            return None, None
        case {"total": total, **rest}:
            limit = _integer(total, f"{path}.total")
            per = _parse_per(rest.get("per"), f"{path}.per")
        case _:
            limit, per = _integer(value, path), None
    if not 1 <= limit <= LIMIT_MAX:
        raise RefusedError("LIMIT_INVALID", f"💔 top_k must be between 1 and {LIMIT_MAX}")
    return limit, per


def _parse_per(value: object, path: str) -> LimitPer | None:
    match value:
        case None:
            return None
        case {"attributes": [*names], "limit": limit}:
            if not names or not all(isinstance(name, str) for name in names):
                raise malformed(f"{path}.attributes", "expected a list of attribute names")
            count = _integer(limit, f"{path}.limit")
            if count < 1:
                raise RefusedError("LIMIT_INVALID", "💔 limit.per.limit must be at least 1")
            return LimitPer(tuple(names), count)
        case _:
            raise malformed(path, "expected {attributes, limit}")


def _parse_selection(fields: Body, path: str) -> Selection:
    include, exclude = fields.get("include_attributes"), fields.get("exclude_attributes")
    if include is not None and exclude is not None:
        raise RefusedError(
            "SELECTION_AMBIGUOUS",
            "💔 cannot specify both include_attributes and exclude_attributes",
        )
    if exclude is not None:
        return Selection(include=True, exclude=_names(exclude, f"{path}exclude_attributes"))
    if include is True:
        return Selection(include=True)
    if include is None or include is False:
        return Selection()
    return Selection(include=_names(include, f"{path}include_attributes"))


def _names(value: object, path: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise malformed(path, "expected a boolean or a list of attribute names")
    return tuple(value)


def _parse_aggregates(value: object, path: str) -> dict[str, Aggregate]:
    if value is None:
        return {}
    return {
        label: _parse_aggregate(item, f"{path}.{label}")
        for label, item in require_object(value, path).items()
    }


def _parse_aggregate(value: object, path: str) -> Aggregate:
    match value:
        case ["Count"] | ["Count", "id"]:
            return Count()
        case ["Sum", str(attribute)]:
            return SumOf(attribute)
        case _:
            raise malformed(path, "data did not match any variant of untagged enum AggregateBy")


def _parse_group_by(value: object, path: str) -> tuple[GroupKey, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise malformed(path, f"invalid type: {json_kind(value)}, expected a sequence")
    keys: list[GroupKey] = []
    for index, item in enumerate(value):
        match item:
            case str(attribute):
                keys.append(GroupKey(attribute, attribute, for_each_item=False))
            case dict() if item:
                for label, expression in item.items():
                    match expression:
                        case ["ForEachUnique", str(attribute)]:
                            keys.append(GroupKey(attribute, label, for_each_item=True))
                        case _:
                            raise malformed(f"{path}[{index}]", "expected [ForEachUnique, name]")
            case _:
                raise malformed(f"{path}[{index}]", "expected an attribute name or a map")
    return tuple(keys)


def _parse_computed(value: object, path: str) -> dict[str, Score | ByVector | Highlight]:
    if value is None:
        return {}
    computed: dict[str, Score | ByVector | Highlight] = {}
    for label, expression in require_object(value, path).items():
        if label in ("id", "$dist"):
            raise RefusedError("LABEL_RESERVED", f"💔 compute_attributes cannot set '{label}'")
        match expression:
            case [str(attribute), "VectorDist", vector]:
                computed[label] = ByVector(attribute, vector, is_exact=True)
            case ["Highlight", str(attribute)]:
                computed[label] = Highlight(attribute=attribute)
            case ["Highlight", str(attribute), dict(options)]:
                computed[label] = _parse_highlight(attribute, options, f"{path}.{label}")
            case _:
                computed[label] = parse_score(expression, f"{path}.{label}")
    return computed


def _parse_highlight(attribute: str, options: Body, path: str) -> Highlight:
    fragment_by: Any = options.get("fragment_by") or "sentence"
    offsets = options.get("include_offsets")
    limit = _integer(options.get("fragment_limit"), f"{path}.fragment_limit", default=3)
    if fragment_by not in get_args(FragmentBy):
        raise malformed(f"{path}.fragment_by", f"unknown variant `{fragment_by}`")
    if offsets is not None and offsets not in get_args(Offsets):
        raise malformed(f"{path}.include_offsets", f"unknown variant `{offsets}`")
    if not 1 <= limit <= FRAGMENTS_COUNT_MAX:
        raise RefusedError(
            "FRAGMENT_LIMIT_INVALID",
            f"💔 fragment_limit must be between 1 and {FRAGMENTS_COUNT_MAX}",
        )
    return Highlight(
        attribute=attribute,
        fragment_by=fragment_by,
        fragment_limit=limit,
        include_offsets=offsets,
    )


def _parse_queries(value: object) -> tuple[Query, ...]:
    if not isinstance(value, list):
        raise malformed("queries", f"invalid type: {json_kind(value)}, expected a sequence")
    if not value:
        raise RefusedError("QUERIES_MISSING", "💔 must send at least one sub-query")
    if len(value) > QUERIES_COUNT_MAX:
        raise RefusedError(
            "QUERIES_TOO_MANY",
            "💔 multi-query exceeds per-namespace concurrency budget: "
            f"requires {len(value)} permits, max is {QUERIES_COUNT_MAX}",
        )
    return tuple(
        parse_query(require_object(item, f"queries[{index}]"), f"queries[{index}].")
        for index, item in enumerate(value)
    )


def _parse_fusion(fields: Body, queries: tuple[Query, ...]) -> Fusion | None:
    match fields.get("rerank_by"):
        case None:
            return None
        case ["RRF"]:
            options: Body = {}
        case ["RRF", dict(options)]:
            pass
        case _:
            raise _reranker_refused()
    if any(query.aggregates for query in queries):
        raise RefusedError("FUSION_OF_AGGREGATES", "💔 RRF needs sub-queries with rank_by")
    weights = options.get("weights")
    if weights is None:
        weights = [1.0] * len(queries)
    constant = _weight(options.get("rank_constant", RANK_CONSTANT_DEFAULT), "rank_constant")
    if not isinstance(weights, list) or len(weights) != len(queries):
        raise RefusedError("WEIGHTS_INVALID", "💔 RRF needs one weight per sub-query")
    limit, _per = _parse_limit(fields, "limit")
    offset = _integer(fields.get("offset"), "offset", default=0)
    if not 0 <= offset <= OFFSET_MAX:
        raise RefusedError("OFFSET_INVALID", f"💔 offset must be between 0 and {OFFSET_MAX}")
    return Fusion(
        rank_constant=constant,
        weights=tuple(_weight(weight, "weights") for weight in weights),
        limit=LIMIT_MAX if limit is None else limit,
        offset=offset,
    )


def _weight(value: Any, name: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= FUSION_NUMBER_MAX
    ):
        raise RefusedError("FUSION_INVALID", f"💔 RRF {name} must be numbers from 0 to 1e9")
    return float(value)


def _reranker_refused() -> RefusedError:
    return RefusedError(
        "RERANKER_UNSUPPORTED",
        "💔 rerank_by with a model is hosted only; this server fuses multi-queries with "
        '["RRF"] and has no models',
    )


def _integer(value: object, path: str, *, default: int | None = None) -> int:
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(path, f"invalid type: {json_kind(value)}, expected usize")
    return value
