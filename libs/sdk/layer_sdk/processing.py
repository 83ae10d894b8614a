"""Calling a marked function with items, and making results of what it returns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from layer_sdk.calling import called
from layer_sdk.decorators import FUNCTION_MARK
from layer_sdk.errors import PermanentError, TransientError
from layer_sdk.items import Failure, Item, Result

log = logging.getLogger("layer_sdk")

BATCH_SIZE_DEFAULT: Final = 32
MESSAGE_LENGTH_MAX: Final = 1024
EMBEDDING: Final = "embedding"
MEANT: Final = frozenset({PermanentError.__name__, TransientError.__name__})
"""By name, since those of the official SDK mean the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processing:
    """A marked function."""

    function: Callable[..., Any]
    id: str | None
    output: str | None
    is_embedding: bool
    is_batch: bool
    batch_size: int

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Processing:
        """Read what a function was marked with, by this SDK or by the official one."""
        marked: Mapping[str, Any] = getattr(function, FUNCTION_MARK, {})
        return cls(
            function=function,
            id=marked.get("id"),
            output=marked.get("output"),
            is_embedding=marked.get("kind") == EMBEDDING,
            is_batch=bool(marked.get("batch")),
            batch_size=int(marked.get("batch_size", BATCH_SIZE_DEFAULT)),
        )

    async def one(self, item: Item) -> Result | Failure:
        """Process an item."""
        try:
            return self._result(item, await called(self.function, **item.input))
        except Exception as error:  # noqa: BLE001 -- whatever it raises is its item's failure
            return _failure(item, error)

    async def all(self, items: Sequence[Item]) -> list[Result | Failure]:
        """Process items together."""
        try:
            outputs = list(await called(self.function, [dict(item.input) for item in items]))
        except Exception as error:  # noqa: BLE001
            return [_failure(item, error) for item in items]
        if len(outputs) != len(items):
            unequal = PermanentError(f"{len(outputs)} outputs for {len(items)} inputs")
            return [_failure(item, unequal) for item in items]
        return [self._outcome(item, output) for item, output in zip(items, outputs, strict=True)]

    def _outcome(self, item: Item, output: Any) -> Result | Failure:
        if isinstance(output, Exception):
            return _failure(item, output)
        try:
            return self._result(item, output)
        except Exception as error:  # noqa: BLE001
            return _failure(item, error)

    def _result(self, item: Item, output: Any) -> Result:
        if self.is_embedding:
            components = list(output)
            if components and hasattr(components[0], "__len__"):
                return Result(item=item, vectors=components)
            return Result(item=item, vector=components)
        if self.output is not None:
            return Result(item=item, attributes={self.output: output})
        if output is None:
            return Result(item=item)
        if isinstance(output, Mapping):
            return Result(item=item, attributes=output)
        raise PermanentError("it returned a value, and neither output nor kind says what it is")


def _failure(item: Item, error: Exception) -> Failure:
    kind = "permanent" if is_permanent(error) else "transient"
    message = str(error) or type(error).__name__
    # What the function means to say is said by its words; anything else by where it came from.
    is_meant = any(one.__name__ in MEANT for one in type(error).__mro__)
    where = None if is_meant else error
    log.warning("%s of %s failed: %s", item.id, item.namespace, message, exc_info=where)
    return Failure(item, kind, message[:MESSAGE_LENGTH_MAX])


def is_permanent(error: Exception) -> bool:
    """Tell whether trying again is of no use; the official SDK's own error says so by its name."""
    return any(one.__name__ == PermanentError.__name__ for one in type(error).__mro__)
