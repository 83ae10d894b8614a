"""Which indexes selectors mean, and which selectors are none."""

from __future__ import annotations

from typing import Final

import pytest

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.selectors import (
    IndexSelector,
    LabelOperator,
    Requirement,
    check_selector,
)

IN, NOT_IN = LabelOperator.IN, LabelOperator.NOT_IN
EXISTS, DOES_NOT_EXIST = LabelOperator.EXISTS, LabelOperator.DOES_NOT_EXIST
LABELS: Final = {"team": "search", "tier": "gold"}


@pytest.mark.parametrize(
    ("requirement", "is_met"),
    [
        (Requirement(key="tier", operator=IN, values=("gold", "silver")), True),
        (Requirement(key="tier", operator=IN, values=("silver",)), False),
        (Requirement(key="zone", operator=IN, values=("eu",)), False),
        (Requirement(key="tier", operator=NOT_IN, values=("silver",)), True),
        (Requirement(key="tier", operator=NOT_IN, values=("gold",)), False),
        (Requirement(key="zone", operator=NOT_IN, values=("eu",)), True),
        (Requirement(key="zone", operator=EXISTS), False),
        (Requirement(key="team", operator=EXISTS), True),
        (Requirement(key="zone", operator=DOES_NOT_EXIST), True),
        (Requirement(key="team", operator=DOES_NOT_EXIST), False),
    ],
    ids=str,
)
def test_a_requirement_is_met_as_kubernetes_says_it(
    requirement: Requirement, *, is_met: bool
) -> None:
    assert requirement.matches(LABELS) is is_met
    assert IndexSelector(requirements=(requirement,)).matches(LABELS) is is_met
    both = IndexSelector(labels={"team": "search"}, requirements=(requirement,))
    assert both.matches(LABELS) is is_met
    assert not IndexSelector(labels={"team": "ads"}, requirements=(requirement,)).matches(LABELS)


def test_a_selector_that_says_nothing_selects_nothing() -> None:
    assert not IndexSelector()
    assert IndexSelector(labels={"a": "b"})
    assert IndexSelector(requirements=(Requirement(key="a", operator=EXISTS),))


@pytest.mark.parametrize(
    ("selector", "field"),
    [
        (IndexSelector(labels={"": "x"}), "matchLabels"),
        (IndexSelector(labels={"k" * 318: "x"}), "matchLabels"),
        (IndexSelector(labels={"k": "x" * 64}), "matchLabels"),
        (IndexSelector(labels={str(at): "x" for at in range(65)}), "matchLabels"),
        (
            IndexSelector(requirements=(Requirement(key="k", operator=IN),)),
            "matchExpressions[0].values",
        ),
        (
            IndexSelector(requirements=(Requirement(key="k", operator=IN, values=("x",) * 65),)),
            "matchExpressions[0].values",
        ),
        (
            IndexSelector(requirements=(Requirement(key="k", operator=EXISTS, values=("x",)),)),
            "matchExpressions[0].values",
        ),
        (
            IndexSelector(requirements=(Requirement(key="", operator=EXISTS),)),
            "matchExpressions[0]",
        ),
        (
            IndexSelector(requirements=(Requirement(key="k", operator=EXISTS),) * 65),
            "matchExpressions",
        ),
    ],
    ids=lambda found: found if isinstance(found, str) else "",
)
def test_a_refused_selector_names_its_field(selector: IndexSelector, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_selector(selector, "index_selector")
    assert caught.value.metadata["field"] == f"index_selector.{field}"
