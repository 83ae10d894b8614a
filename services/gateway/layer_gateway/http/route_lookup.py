"""Which route a request is for, by its method and its path."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from layer_gateway.http.routes import PASS, ROUTES, Operation, Route
from layer_kit.remembering import remembered_if_short

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


@dataclass(slots=True)
class _Shape:
    """The routes of one method whose paths have their names at the same positions."""

    positions: Sequence[int]
    routes: dict[str, tuple[Operation, Sequence[str]]] = field(default_factory=dict)


def _shapes(routes: Mapping[str, Operation]) -> Mapping[tuple[str, int], Sequence[_Shape]]:
    """Sort routes by method and number of segments; those with the fewest names come first."""
    found: defaultdict[tuple[str, int], dict[tuple[int, ...], _Shape]] = defaultdict(dict)
    for key, operation in routes.items():
        method, path = key.split(" ")
        parts = path.split("/")
        positions = tuple(at for at, part in enumerate(parts) if _PLACEHOLDER.fullmatch(part))
        shape = found[method, len(parts)].setdefault(positions, _Shape(positions))
        shape.routes[_PLACEHOLDER.sub("*", path)] = operation, _PLACEHOLDER.findall(path)
    return {
        key: sorted(shapes.values(), key=lambda shape: len(shape.positions))
        for key, shapes in found.items()
    }


_SHAPES: Final = _shapes(ROUTES)


_NOT_BY_HEAD: Final = frozenset({Operation.STORE_METADATA, Operation.HINT_CACHE_WARM})
"""Reads that the store answers, or that do something; any other by GET is there by HEAD, too."""

ROUTES_REMEMBERED_MAX: Final = 4096
REMEMBERED_CHARACTERS_MAX: Final = 256
"""Longer paths are looked up each time, so that what is remembered stays below a few MiB."""


@remembered_if_short(count_max=ROUTES_REMEMBERED_MAX, characters_max=REMEMBERED_CHARACTERS_MAX)
def route(method: str, path: str) -> Route:
    """Find the route of a request by its method and its path without query string."""
    found = _listed(method, path)
    if found is PASS and method == "HEAD":
        by_get = _listed("GET", path)
        return PASS if by_get.operation in _NOT_BY_HEAD else by_get
    return found


def _listed(method: str, path: str) -> Route:
    parts = path.split("/")
    for shape in _SHAPES.get((method, len(parts)), ()):
        masked = parts.copy()
        for at in shape.positions:
            masked[at] = "*"
        if found := shape.routes.get("/".join(masked)):
            operation, names = found
            values = (unquote(parts[at]) for at in shape.positions)
            return Route(operation, dict(zip(names, values, strict=True)))
    return PASS
