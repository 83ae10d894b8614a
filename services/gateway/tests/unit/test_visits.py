"""Traces and tags as requests bring them."""

from __future__ import annotations

import pytest

from layer_gateway.domain.visits import Visit, read_visit
from layer_kit.errors import InvalidRequestError
from layer_wire.traces import minted_at_s, trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def visit(**headers: str) -> Visit:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_visit(named.get, epoch_s=lambda: 1_780_000_000, random_bits=lambda bits: bits)


@pytest.mark.parametrize("spell", [str.lower, str.upper])
def test_a_valid_trace_is_the_callers_in_lower_case(spell: object) -> None:
    offered = f"00-{TRACE}-00f067aa0ba902b7-01"
    offered = offered.upper() if spell is str.upper else offered
    found = visit(traceparent=offered)
    assert (found.traceparent, found.trace_id, found.is_minted) == (offered, TRACE, False)


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "x",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
        f"0-{TRACE}-00f067aa0ba902b7-01",
    ],
)
def test_any_other_is_replaced_by_one_that_tells_its_second(offered: str) -> None:
    found = visit(traceparent=offered)
    assert found.is_minted
    assert trace_id_of(found.traceparent) == found.trace_id
    assert minted_at_s(found.trace_id) == 1_780_000_000
    assert minted_at_s(TRACE) is None


def test_tags_of_both_headers_are_merged_trimmed_and_sorted() -> None:
    found = visit(x_hevlayer_tags=" b, a,,b", x_hevlayer_tag="c", x_hevlayer_search_query=" q ")
    assert (found.tags, found.raw_query) == (("a", "b", "c"), "q")


@pytest.mark.parametrize("tag", ["a b", "ä", "a" * 129, "a;b"])
def test_a_bad_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        visit(x_hevlayer_tag=f"good,{tag}")
    assert refused.value.reason == "TAG_INVALID"


def test_more_than_thirty_two_tags_are_refused() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        visit(x_hevlayer_tags=",".join(f"t{n}" for n in range(33)))
    assert refused.value.reason == "TOO_MANY_TAGS"
