"""A template finds in a message what the message says."""

from __future__ import annotations

import random
from typing import Final

from layer_upstream import HeadTemplate, template_of

MESSAGES_COUNT: Final = 4000
PREFIX: Final = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: "
SUFFIX: Final = b"\r\nx: 1\r\n\r\n"
BODY: Final = b'{"vector": '


def template(body: bytes = b"") -> HeadTemplate:
    found = template_of(PREFIX + b"3" + SUFFIX)
    assert found is not None
    return found[0].then(body)


def test_a_whole_message_is_told_from_all_others() -> None:
    chance = random.Random(5)  # noqa: S311 -- the same each time
    one = template(BODY)
    outcomes = {True: 0, False: 0}
    for _ in range(MESSAGES_COUNT):
        size = chance.choice((0, 5, 9, 10, 11, 12, 99, 100, 101, 999, 1000, 1001))
        text = (chance.choice((BODY, BODY, BODY, b'{"text": ')) + b"1" * size)[:size]
        told = size + chance.choice((0, 0, 0, 0, -1, 1, 9, 90))
        length = chance.choice((b"%d", b"%d", b"%d", b"%d", b"0%d", b" %d", b"+%d")) % told
        prefix = PREFIX if chance.random() < 0.9 else PREFIX.replace(b"/x", b"/y")
        message = prefix + length + SUFFIX + text
        start = len(message) - size
        is_one = prefix == PREFIX and length.isdigit() and text.startswith(BODY)
        # What the buffer holds from before is no part of it.
        stale = b"1" * chance.choice((0, 1, 7))
        quick = one.start_of_whole(bytearray(message + stale), len(message))
        assert quick in ((start, None) if is_one and told == size else (None,)), message
        assert one.match(message) == ((start, told) if is_one else None), message
        outcomes[quick is not None] += 1
    assert min(outcomes.values()) > 50


def test_the_number_of_digits_is_that_of_the_message_before() -> None:
    one = template(BODY)
    long, longer = (PREFIX + b"%d" % n + SUFFIX + BODY.ljust(n, b"1") for n in (99, 100))
    assert one.start_of_whole(long, len(long)) is None
    assert one.match(long) == (len(long) - 99, 99)
    assert one.start_of_whole(long, len(long)) == len(long) - 99
    assert one.start_of_whole(longer, len(longer)) is None
    assert one.match(longer) == (len(longer) - 100, 100)
    assert one.start_of_whole(longer, len(longer)) == len(longer) - 100
