"""The namespaces that a function works on."""

from __future__ import annotations

from layer_runtime.domain.functions import FunctionSpec
from layer_runtime.ports.rows import Rows


async def namespaces_of(spec: FunctionSpec, rows: Rows) -> list[str]:
    """Return those that it names and those that its selector selects now, by name."""
    found = set(spec.target_namespaces)
    if spec.index_selector:
        found.update(await rows.labelled(spec.index_selector))
    return sorted(found)
