"""Namespaces that are read at strong consistency, whatever a query says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from layer_kit.names import Namespace


@dataclass(frozen=True, slots=True)
class StrongNamespaces:
    """A choice of namespaces.

    Args:
        patterns: Names separated by commas, in which ``*`` stands for any text.
    """

    patterns: str

    def __contains__(self, namespace: Namespace) -> bool:
        if not self.patterns:
            return False
        names = (re.escape(name.strip()) for name in self.patterns.split(","))
        return any(re.fullmatch(name.replace(r"\*", ".*"), namespace) for name in names)
