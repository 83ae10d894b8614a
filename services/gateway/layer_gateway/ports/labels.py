"""What listings need of those who configure indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from layer_kit.names import Namespace


class IndexLabels(Protocol):
    """The labels that indexes were given, by their namespaces."""

    def of(self, namespace: Namespace) -> Mapping[str, str]:
        """Return the labels of a namespace, none where nobody gave it any."""
        ...
