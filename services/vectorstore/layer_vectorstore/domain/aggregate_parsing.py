"""Reads ``aggregate_by`` and ``group_by``."""

from __future__ import annotations

from layer_vectorstore.domain.errors import json_kind, malformed
from layer_vectorstore.domain.json_fields import require_object
from layer_vectorstore.domain.query import Aggregate, Count, GroupKey, SumOf


def parse_aggregates(value: object, path: str) -> dict[str, Aggregate]:
    """Return what to compute under each label.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
    """
    if value is None:
        return {}
    return {
        label: _parse_aggregate(item, f"{path}.{label}")
        for label, item in require_object(value, path).items()
    }


def parse_group_by(value: object, path: str) -> tuple[GroupKey, ...]:
    """Return the parts of a group's key.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
    """
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


def _parse_aggregate(value: object, path: str) -> Aggregate:
    match value:
        case ["Count"] | ["Count", "id"]:
            return Count()
        case ["Sum", str(attribute)]:
            return SumOf(attribute)
        case _:
            raise malformed(path, "data did not match any variant of untagged enum AggregateBy")
