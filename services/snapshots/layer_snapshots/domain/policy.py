"""Policies: what is counted of a namespace, how often, and for how long it is kept."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_snapshots.domain.limits import (
    FACET_FIELDS_MAX,
    FIELD_BYTES_MAX,
    INTERVAL_MS_MAX,
    RETENTION_MS_MAX,
    SPAN_MS_MIN,
)

NEVER: Final = "never"
INTERVAL_DEFAULT: Final = "5m"

_UNITS_MS: Final = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 7 * 86_400_000,
}
_SPAN: Final = re.compile(r"(?:[0-9]{1,9}(?:ms|[smhdw]))+")
_PART: Final = re.compile(r"([0-9]{1,9})(ms|[smhdw])")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of a namespace, as it is stored and as the contract has it."""

    facetFields: tuple[str, ...] = ()  # noqa: N815 -- the contract's name
    interval: str = INTERVAL_DEFAULT
    retention: str = NEVER

    @property
    def interval_ms(self) -> int:
        return parse_span(self.interval, "interval")

    @property
    def retention_ms(self) -> int | None:
        """Return how long snapshots are kept; None for ever."""
        return None if self.retention == NEVER else parse_span(self.retention, "retention")


def check_policy(policy: Policy) -> None:
    """Refuse a policy that cannot be kept to.

    Raises:
        InvalidRequestError: ``POLICY_INVALID``.
    """
    if len(policy.facetFields) > FACET_FIELDS_MAX:
        raise _invalid("facetFields", f"has more than {FACET_FIELDS_MAX} fields")
    if len(set(policy.facetFields)) < len(policy.facetFields):
        raise _invalid("facetFields", "names a field twice")
    for name in policy.facetFields:
        if not is_field(name):
            raise _invalid(
                "facetFields",
                f"has {name[:FIELD_BYTES_MAX]!r}, which is not 1 to {FIELD_BYTES_MAX} bytes, "
                "or is id, or starts with $",
            )
    if not SPAN_MS_MIN <= policy.interval_ms <= INTERVAL_MS_MAX:
        raise _invalid("interval", "is not 1 second to 30 days")
    retention_ms = policy.retention_ms
    if retention_ms is not None and not SPAN_MS_MIN <= retention_ms <= RETENTION_MS_MAX:
        raise _invalid("retention", "is neither never nor 1 second to 100 years")


def is_field(name: str) -> bool:
    """Tell whether ``name`` can be that of an attribute of which values are counted."""
    size_bytes = len(name.encode(errors="replace"))
    return 0 < size_bytes <= FIELD_BYTES_MAX and name != "id" and not name.startswith("$")


def parse_span(text: str, field: str) -> int:
    """Return the milliseconds of a span such as ``5m`` or ``1h30m``.

    Raises:
        InvalidRequestError: ``POLICY_INVALID``.
    """
    if _SPAN.fullmatch(text) is None:
        raise _invalid(field, f"{text[:64]!r} is not a span such as 5m or 1h30m")
    return sum(int(number) * _UNITS_MS[unit] for number, unit in _PART.findall(text))


def _invalid(field: str, why: str) -> InvalidRequestError:
    return InvalidRequestError("POLICY_INVALID", f"{field} {why}.", field=field)
