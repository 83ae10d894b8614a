"""Secrets that manifests refer to, out of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from layer_gateway.domain.vectorstores import SecretRef
from layer_kit.configuration import ConfigurationError
from layer_kit.settings import FILE_SUFFIX

_PUNCTUATION: Final = re.compile(r"[^A-Z0-9]")


def secret_variable(ref: SecretRef) -> str:
    """Return the variable that holds a secret: ``LAYER_SECRET_<NAME>_<KEY>``."""
    name, key = (_PUNCTUATION.sub("_", text.upper()) for text in (ref.name, ref.key))
    return f"LAYER_SECRET_{name}_{key}"


class EnvironmentSecrets:
    """Reads each secret from its variable, or from the file that ``<variable>_FILE`` names."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def read(self, ref: SecretRef) -> bytes:
        """Return a secret without white space around it.

        Raises:
            ConfigurationError: When it is not set, empty, or its file cannot be read.
        """
        variable = secret_variable(ref)
        file_variable = variable + FILE_SUFFIX
        if variable in self._environment:
            secret = self._environment[variable].encode(errors="surrogateescape")
        elif file_variable in self._environment:
            path = self._environment[file_variable]
            try:
                secret = Path(path).read_bytes()
            except OSError as error:
                raise ConfigurationError(
                    f"{file_variable}: cannot read {path}: {error.strerror}"
                ) from error
        else:
            raise ConfigurationError(f"{variable} is not set")
        if not secret.strip():
            raise ConfigurationError(f"{variable} is empty")
        return secret.strip()
