"""Policies: how long events are kept, and what is left out of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
import re2  # type: ignore[import-untyped]  # it ships no types

from layer_history.domain.events import NANOSECONDS_PER_SECOND, Kind, Query
from layer_history.domain.limits import (
    PATTERN_LENGTH_MAX,
    PATTERNS_MAX,
    REDACTIONS_MAX,
    RETENTION_S_MAX,
)
from layer_kit.errors import InvalidRequestError, PreconditionError

REDACTED: Final = "[redacted]"
HASH_PREFIX: Final = "hmac-sha256:"
_COMBINATORS: Final = frozenset({"And", "Or", "Not"})
_CONDITION_LENGTH: Final = 3


class Redaction(StrEnum):
    """What is kept of something that may name people."""

    KEEP = "keep"
    HASH = "hash"
    DROP = "drop"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of a namespace, as it is kept in the object store."""

    query_retention_s: int = 0
    """0 = for ever."""
    click_retention_s: int = 0
    raw_query: Redaction = Redaction.KEEP
    patterns: tuple[str, ...] = ()
    filters: Redaction = Redaction.KEEP
    purged_before_ns: int = 0
    """Events up to this moment are as good as deleted, wherever they still are."""

    def oldest_ns(self, kind: Kind, now_ns: int) -> int:
        """Return the first moment whose events are still to be read."""
        kept_s = self.query_retention_s if kind is Kind.QUERY else self.click_retention_s
        expired_ns = now_ns - kept_s * NANOSECONDS_PER_SECOND if kept_s else 0
        return max(self.purged_before_ns + 1, expired_ns)


def check_policy(policy: Policy, *, has_key: bool) -> None:
    """Refuse a policy that cannot be kept to.

    Raises:
        InvalidRequestError: ``POLICY_INVALID``.
        PreconditionError: ``HASH_KEY_MISSING``.
    """
    for field in ("query_retention_s", "click_retention_s"):
        if not 0 <= getattr(policy, field) <= RETENTION_S_MAX:
            raise _invalid(field, f"is not 0 to {RETENTION_S_MAX} seconds")
    if len(policy.patterns) > PATTERNS_MAX:
        raise _invalid("redaction_patterns", f"has more than {PATTERNS_MAX} patterns")
    for pattern in policy.patterns:
        if not 0 < len(pattern) <= PATTERN_LENGTH_MAX:
            raise _invalid(
                "redaction_patterns", f"has one that is not 1 to {PATTERN_LENGTH_MAX} characters"
            )
        _check_pattern(pattern, f"has {pattern!r}")
    _check_pattern(_one_of(policy.patterns), "are too much together")
    if Redaction.HASH in (policy.raw_query, policy.filters) and not has_key:
        raise PreconditionError(
            "HASH_KEY_MISSING",
            "Hashes need a key that every replica has: set LAYER_HISTORY_HASH_KEY first.",
        )


def _check_pattern(pattern: str, what: str) -> None:
    try:
        re2.compile(pattern, _options())
    except re2.error as error:
        raise _invalid("redaction_patterns", f"{what}: {_why(error)}") from error


class Redactor:
    """Leaves out of searches what a policy does not want kept.

    Args:
        key: Of the hashes; while it is empty, what a policy wants hashed is dropped.
    """

    def __init__(self, policy: Policy, key: bytes) -> None:
        self._raw_query = _without_key(policy.raw_query, key)
        self._filters = _without_key(policy.filters, key)
        self._pattern = re2.compile(_one_of(policy.patterns), _options())
        self._key = key
        self._keeps_text = not policy.patterns and self._raw_query is Redaction.KEEP
        self.is_idle = self._keeps_text and self._filters is Redaction.KEEP
        """Whether everything is kept as it is."""

    def redact(self, query: Query) -> None:
        """Change ``query`` in place."""
        query.raw_query = self._text(query.raw_query)
        query.query = self._summary(query.query)

    def _text(self, text: str | None) -> str | None:
        if text is None or self._raw_query is Redaction.DROP:
            return None
        if self._raw_query is Redaction.HASH:
            return self._hash(text.encode())
        if self._keeps_text:
            return text
        redacted: str
        redacted, count = self._pattern.subn(REDACTED, text, REDACTIONS_MAX)
        return redacted if count < REDACTIONS_MAX else REDACTED

    def _summary(self, summary: msgspec.Raw) -> msgspec.Raw:
        found: dict[str, Any] = msgspec.json.decode(summary)
        kept = self._part(found)
        if isinstance(parts := found.get("queries"), list):
            kept["queries"] = [self._part(part) for part in parts if isinstance(part, dict)]
        if isinstance(hybrid := found.get("hybrid"), dict) and "tokens" in hybrid:
            kept["hybrid"] = hybrid | {"tokens": self._typed(hybrid["tokens"])}
        return msgspec.Raw(msgspec.json.encode(kept))

    def _part(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Redact the filters and the ranking of a summary, or of one of its queries."""
        kept = dict(summary)
        if "rank_by" in kept and not self._keeps_text:
            kept["rank_by"] = self._ranking(kept["rank_by"])
        if self._filters is not Redaction.KEEP and "filters" in kept:
            filters = kept.pop("filters")
            if self._filters is Redaction.HASH:
                kept["filters"] = self._filter(filters)
        return kept

    def _ranking(self, ranking: Any) -> Any:
        """Redact what stands behind attribute and operator, which is what a user typed."""
        match ranking:
            case [str(), str(), operand, *options]:
                return [*ranking[:2], self._typed(operand), *options]
            case list():
                return [self._ranking(part) for part in ranking]
            case _:
                return ranking

    def _typed(self, value: Any) -> Any:
        match value:
            case str():
                return self._text(value)
            case list():
                return [self._typed(part) for part in value]
            case dict():
                return {key: self._typed(part) for key, part in value.items()}
            case _:
                return value

    def _filter(self, condition: Any) -> Any:
        """Hash the value of each condition; names of attributes and operators stay."""
        if isinstance(condition, Sequence) and not isinstance(condition, str):
            head, *rest = condition or [None]
            if head in _COMBINATORS and rest:
                return [head, *(self._nested(part) for part in rest)]
            if len(condition) == _CONDITION_LENGTH and isinstance(head, str):
                return [head, condition[1], self._hash(msgspec.json.encode(condition[2]))]
        return self._hash(msgspec.json.encode(condition))

    def _nested(self, part: Any) -> Any:
        """Hash the operand of a combinator: a list of conditions, or for ``Not`` a condition."""
        if isinstance(part, list) and part and all(isinstance(one, list) for one in part):
            return [self._filter(one) for one in part]
        return self._filter(part)

    def _hash(self, value: bytes) -> str:
        return HASH_PREFIX + hmac.new(self._key, value, hashlib.sha256).hexdigest()[:32]


def _without_key(redaction: Redaction, key: bytes) -> Redaction:
    return Redaction.DROP if redaction is Redaction.HASH and not key else redaction


def _why(error: Exception) -> str:
    """Return what a pattern lacks, which the library says in bytes."""
    (cause,) = error.args
    return cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)


def _one_of(patterns: Sequence[str]) -> str:
    """Return one pattern for all, so that a text is gone through once."""
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False  # to stderr, what is also raised
    options.never_capture = True  # two patterns may name their groups alike
    return options


def _invalid(field: str, why: str) -> InvalidRequestError:
    return InvalidRequestError("POLICY_INVALID", f"{field} {why}.", field=field)
