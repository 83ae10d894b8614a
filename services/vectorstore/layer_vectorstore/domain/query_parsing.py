"""Reads the bodies of query, multi-query and explain requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from layer_vectorstore.domain.aggregate_parsing import parse_aggregates, parse_group_by
from layer_vectorstore.domain.computed_parsing import parse_computed
from layer_vectorstore.domain.errors import RefusedError, json_kind, malformed
from layer_vectorstore.domain.filters import parse_filter
from layer_vectorstore.domain.fusion_parsing import parse_fusion, reranker_refused
from layer_vectorstore.domain.json_fields import require_object
from layer_vectorstore.domain.limit_parsing import parse_limit, parse_offset
from layer_vectorstore.domain.limits import QUERIES_COUNT_MAX
from layer_vectorstore.domain.metric_parsing import parse_metric
from layer_vectorstore.domain.query import Query, QueryRequest, Selection, VectorEncoding
from layer_vectorstore.domain.ranking import ByAttributes, ByVector, OrderKey, Rank, parse_rank
from layer_vectorstore.domain.schema import ID

BY_ID: Final = ByAttributes((OrderKey(ID, is_descending=False),))

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
    if fields.get("distance_metric") is not None:
        parse_metric(fields["distance_metric"])  # redundant, as the namespace has one
    is_eventual = _parse_consistency(fields.get("consistency"))
    if fields.get("queries") is None:
        if fields.get("rerank_by") is not None:
            raise reranker_refused()
        queries: tuple[Query, ...] = (parse_query(fields, ""),)
        fusion = None
    else:
        queries = _parse_queries(fields["queries"])
        fusion = parse_fusion(fields, queries)
    return QueryRequest(
        queries=queries,
        is_multiple=fields.get("queries") is not None,
        fusion=fusion,
        vector_encoding=encoding,
        is_eventual=is_eventual,
    )


def parse_query(fields: Body, path: str) -> Query:
    """Read one query; ``path`` is what stands before its fields in an error."""
    aggregates = parse_aggregates(fields.get("aggregate_by"), f"{path}aggregate_by")
    limit, per = parse_limit(fields, path)
    rank = _parse_rank(fields, path, is_aggregation=bool(aggregates), has_limit=limit is not None)
    query = Query(
        rank=rank,
        filter=None
        if fields.get("filters") is None
        else parse_filter(fields["filters"], f"{path}filters"),
        limit=limit,
        per=per,
        offset=parse_offset(fields, path),
        selection=_parse_selection(fields, path),
        aggregates=aggregates,
        group_by=parse_group_by(fields.get("group_by"), f"{path}group_by"),
        computed=parse_computed(fields.get("compute_attributes"), f"{path}compute_attributes"),
    )
    _check_together(query, fields)
    return query


def _parse_rank(fields: Body, path: str, *, is_aggregation: bool, has_limit: bool) -> Rank | None:
    if fields.get("rank_by") is not None:
        return parse_rank(fields["rank_by"], f"{path}rank_by")
    if is_aggregation:
        return None
    if not has_limit:
        raise RefusedError("RANK_MISSING", "💔 either rank_by or aggregate_by must be specified")
    # The page about writes looks rows up with a limit alone.
    return BY_ID


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
