"""What is known of the vectors of a namespace."""

from __future__ import annotations

from typing import Protocol

from layer_gateway.domain.federation import EmbeddingProfile
from layer_kit.names import Namespace


class EmbeddingProfiles(Protocol):
    """How the vectors of each namespace were made, as far as somebody has declared it."""

    def get(self, namespace: Namespace) -> EmbeddingProfile | None: ...
