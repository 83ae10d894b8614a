"""Embedding profiles out of a file, read once at start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from layer_gateway.domain.federation import EmbeddingProfile
from layer_kit.configuration import ConfigurationError
from layer_kit.names import Namespace


class _Declared(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A profile as the custom resource of an index spells it."""

    model: str
    normalization: str
    output_dim: Annotated[int, msgspec.Meta(ge=1)]
    distance_metric: str = "cosine_distance"


class DeclaredProfiles:
    """Knows the profiles that a file declares, by namespace."""

    def __init__(self, profiles: Mapping[str, EmbeddingProfile]) -> None:
        self._profiles = profiles

    def get(self, namespace: Namespace) -> EmbeddingProfile | None:
        return self._profiles.get(namespace)


def read_profiles(path: str) -> DeclaredProfiles:
    """Read a YAML or JSON file; an empty path declares nothing.

    Raises:
        ConfigurationError: When it cannot be read, or is not as the guide says.
    """
    if not path:
        return DeclaredProfiles({})
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = msgspec.convert(yaml.safe_load(text) or {}, dict[str, _Declared])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"embedding profiles in {path}: {error}") from error
    return DeclaredProfiles(
        {
            namespace: EmbeddingProfile(
                model=declared.model,
                normalization=declared.normalization,
                dimension=declared.output_dim,
                distance_metric=declared.distance_metric,
            )
            for namespace, declared in found.items()
        }
    )
