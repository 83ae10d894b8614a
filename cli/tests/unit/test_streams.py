"""What processes write, cut into lines and put on one stream."""

from __future__ import annotations

import asyncio
import io

from hypothesis import given
from hypothesis import strategies as st

from layer_cli.up.backoff import Backoff
from layer_cli.up.lines import LINE_BYTES_MAX, iter_lines
from layer_cli.up.logs import HELD_LINES_MAX, LogStream


async def lines_of(chunks: list[bytes]) -> list[bytes]:
    stream = asyncio.StreamReader()
    for chunk in chunks:
        stream.feed_data(chunk)
    stream.feed_eof()
    return [line async for line in iter_lines(stream)]


@given(st.lists(st.text(alphabet="ab\n", max_size=20).map(str.encode), max_size=10))
async def test_lines_do_not_depend_on_how_they_arrive(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    expected = whole.removesuffix(b"\n").split(b"\n") if whole else []
    assert await lines_of(chunks) == expected


async def test_an_endless_line_is_cut() -> None:
    lines = await lines_of([b"x" * (2 * LINE_BYTES_MAX), b"yz\n", b"next"])
    assert [len(line) for line in lines] == [LINE_BYTES_MAX, LINE_BYTES_MAX, 2, 4]


def stream(out: io.BytesIO, *, is_coloured: bool = False, is_quiet: bool = False) -> LogStream:
    return LogStream(out, ["cache", "gateway"], is_coloured=is_coloured, is_quiet=is_quiet)


def test_names_line_up_and_colours_differ() -> None:
    out = io.BytesIO()
    logs = stream(out, is_coloured=True)
    logs.release()
    logs.write("cache", b"one")
    logs.write("gateway", b"two")

    assert out.getvalue() == b"\x1b[33mcache   | \x1b[0mone\n\x1b[35mgateway | \x1b[0mtwo\n"


def test_lines_are_held_until_the_supervisor_speaks() -> None:
    out = io.BytesIO()
    logs = stream(out)
    logs.write("cache", b"early")
    assert out.getvalue() == b""

    logs.say("hello")
    logs.write("cache", b"late")

    assert out.getvalue().splitlines() == [
        b"cache   | early",
        b"layer   | hello",
        b"cache   | late",
    ]


def test_held_lines_are_bounded_and_can_be_forgotten() -> None:
    out = io.BytesIO()
    logs = stream(out)
    for number in range(HELD_LINES_MAX + 1):
        logs.write("cache", str(number).encode())
    logs.release()
    assert out.getvalue().splitlines()[0] == b"cache   | 1"

    forgetful = stream(out := io.BytesIO())
    forgetful.write("cache", b"early")
    forgetful.discard()
    forgetful.release()
    assert out.getvalue() == b""


def test_pauses_double_up_to_ten_seconds_and_start_over_after_health() -> None:
    backoff = Backoff()
    pauses = [backoff.pause_s(healthy_s=0) for _ in range(8)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert backoff.pause_s(healthy_s=29.9) == 10
    assert backoff.pause_s(healthy_s=30) == 0.2
    assert backoff.pause_s(healthy_s=1) == 0.4
