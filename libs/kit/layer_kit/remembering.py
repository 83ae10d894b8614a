"""Remembering what follows from texts that strangers send."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple, cast

T = TypeVar("T")
Texts = TypeVarTuple("Texts")


def remembered_if_short(
    *, count_max: int, characters_max: int
) -> Callable[[Callable[[*Texts], T]], Callable[[*Texts], T]]:
    """Make a function of texts remember its results, but for texts that are long together.

    A bound on the number alone is none on the memory: whoever sends the texts chooses how long they
    are. None counts as empty. Errors are not remembered.
    """

    def decorate(function: Callable[[*Texts], T]) -> Callable[[*Texts], T]:
        remembered = functools.lru_cache(count_max)(function)

        @functools.wraps(function)
        def call(*texts: *Texts) -> T:
            lengths = [len(text or "") for text in cast("Sequence[str | None]", texts)]
            return (remembered if sum(lengths) <= characters_max else function)(*texts)

        return call

    return decorate
