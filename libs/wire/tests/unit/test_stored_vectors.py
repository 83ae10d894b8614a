"""Stored vectors are read in either form they were written in."""

from __future__ import annotations

import pytest

from layer_wire.vectors import stored_vector


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        (b"", None),
        (b'{"vectors":[[1]]}', None),
        (b'{"vector":null}', None),
        (b'{"vector":[0.5,-1]}', [0.5, -1.0]),
        (b'{"vector":"AAAAPwAAgL8="}', [0.5, -1.0]),
    ],
)
def test_a_vector_is_read(vectors: bytes, expected: list[float] | None) -> None:
    assert stored_vector(vectors) == expected
