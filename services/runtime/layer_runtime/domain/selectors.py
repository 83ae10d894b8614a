"""Selectors: which indexes are meant, by their labels, as Kubernetes says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from layer_kit.errors import InvalidRequestError

LABELS_COUNT_MAX: Final = 64
REQUIREMENTS_COUNT_MAX: Final = 64
VALUES_COUNT_MAX: Final = 64
KEY_LENGTH_MAX: Final = 317
"""A prefix of 253 characters, a slash and a name of 63."""

VALUE_LENGTH_MAX: Final = 63


class LabelOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"

    @property
    def takes_values(self) -> bool:
        return self in {LabelOperator.IN, LabelOperator.NOT_IN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a label has to be."""

    key: str
    operator: LabelOperator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case LabelOperator.IN:
                return self.key in labels and labels[self.key] in self.values
            case LabelOperator.NOT_IN:
                return labels.get(self.key) not in self.values
            case LabelOperator.EXISTS:
                return self.key in labels
            case LabelOperator.DOES_NOT_EXIST:
                return self.key not in labels


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSelector:
    """Selects by all that it says; by nothing it selects nothing."""

    labels: Mapping[str, str] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.requirements)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self.labels.items() <= labels.items() and all(
            requirement.matches(labels) for requirement in self.requirements
        )


def check_selector(selector: IndexSelector, where: str) -> None:
    """Check a selector.

    Raises:
        InvalidRequestError: ``SPEC_INVALID``, naming the field below ``where``.
    """
    if len(selector.labels) > LABELS_COUNT_MAX:
        raise _invalid(f"{where}.matchLabels", f"has more than {LABELS_COUNT_MAX} labels")
    if len(selector.requirements) > REQUIREMENTS_COUNT_MAX:
        raise _invalid(f"{where}.matchExpressions", f"has more than {REQUIREMENTS_COUNT_MAX}")
    for key, value in selector.labels.items():
        _check_label(f"{where}.matchLabels", key, (value,))
    for at, requirement in enumerate(selector.requirements):
        place = f"{where}.matchExpressions[{at}]"
        _check_label(place, requirement.key, requirement.values)
        has_values = 1 <= len(requirement.values) <= VALUES_COUNT_MAX
        if requirement.operator.takes_values and not has_values:
            raise _invalid(f"{place}.values", f"has 1 to {VALUES_COUNT_MAX} values")
        if requirement.values and not requirement.operator.takes_values:
            raise _invalid(f"{place}.values", f"is empty for {requirement.operator}")


def _check_label(where: str, key: str, values: tuple[str, ...]) -> None:
    if not 1 <= len(key) <= KEY_LENGTH_MAX:
        raise _invalid(where, f"has a key that is not of 1 to {KEY_LENGTH_MAX} characters")
    if any(len(value) > VALUE_LENGTH_MAX for value in values):
        raise _invalid(where, f"has a value of more than {VALUE_LENGTH_MAX} characters")


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("SPEC_INVALID", f"{where} {rule}.", field=where)
