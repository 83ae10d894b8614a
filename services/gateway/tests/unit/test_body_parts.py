"""A body is whole again, however it came in."""

from __future__ import annotations

import pytest

from layer_gateway.http.bodies import PARTS_MAX, BodyParts
from layer_kit.memory import MAPPED_BYTES_MIN


@pytest.mark.parametrize("declared_bytes", [0, 1, MAPPED_BYTES_MIN])
@pytest.mark.parametrize("count", [0, 1, 2, PARTS_MAX - 1, PARTS_MAX, PARTS_MAX + 2, 3 * PARTS_MAX])
def test_a_body_is_whole_in_however_many_parts_it_came(declared_bytes: int, count: int) -> None:
    parts = BodyParts(declared_bytes)
    sent = [b"%d," % at for at in range(count)]
    for part in sent:
        parts.add(part)
    assert parts.whole() == b"".join(sent)
