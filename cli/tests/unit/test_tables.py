"""Tables show what anybody has typed as it is."""

from __future__ import annotations

import pytest

from layer_cli.history.tables import events_text, session_text
from layer_cli.tables import table_text


@pytest.mark.parametrize("typed", ["[/b] oops", "card [redacted]", "[red]x", ":smile:"])
def test_what_users_typed_is_no_markup(typed: str) -> None:
    query = {"timestamp": "now", "raw_query": typed, "top_result_ids": ["[1]"], "tags": []}
    click = {
        "timestamp": "now",
        "doc_id": typed,
        "source": "single",
        "served_from": "cache",
        "tags": [],
        "trace_id": "",
    }

    shown = session_text({"queries": [query], "clicks": [click]})

    assert shown.count(typed) == 2
    assert "[1]" in shown
    assert shown.startswith(events_text([query], is_clicks=False))


def test_nothing_that_users_typed_reaches_the_terminal_as_a_command() -> None:
    assert "\x1b" not in table_text(["a"], [["\x1b[2Jgone\r\n\x07"]])
