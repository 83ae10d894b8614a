"""Settings: read once at start from the environment and an optional file, then frozen.

Precedence, highest first: environment variable, secret file (``<NAME>_FILE``), YAML file named by
``LAYER_CONFIG_FILE``, default. A service's variables start with ``LAYER_<SERVICE>_``; names that
the public contract fixes (``TPUF_URL``, ``S3_BUCKET`` …) are aliases of a field. A variable with
the service's prefix that no field knows stops the start: it is nearly always a typing error, and
a setting silently ignored is found out in production.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from layer_kit.configuration import ConfigurationError, did_you_mean
from layer_kit.telemetry.logs import LogFormat, LogLevel

CONFIG_FILE_VARIABLE: Final = "LAYER_CONFIG_FILE"
FILE_SUFFIX: Final = "_FILE"
CLIENTS_VARIABLES: Final = ("LAYER_GATEWAY_API_KEY", "LAYER_GATEWAY_URL")
"""Told to workers and tools, often in the environment that also starts the system."""


def contract_name(*names: str, field: str) -> AliasChoices:
    """Accept variable ``names`` that the contract fixes beside the service's own for ``field``."""
    return AliasChoices(field, *names)


class ServiceSettings(BaseModel):
    """What every service can be told. Subclasses set ``service`` and add their own fields.

    A service that speaks gRPC adds ``grpc_address``, with its own default port.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    service: ClassVar[str]

    ops_address: str = Field(
        "127.0.0.1:0", description="Where /livez, /readyz and /metrics listen; port 0 = any free."
    )
    shutdown_grace_s: float = Field(
        10.0, ge=0, le=600, description="Seconds given to running calls after SIGTERM."
    )
    log_level: LogLevel = Field("info", description="Least severe event that is logged.")
    log_format: LogFormat = Field("auto", description="auto = console on a terminal, else JSON.")


S = TypeVar("S", bound=ServiceSettings)


class Variable:
    """One field of a settings class as an operator sees it."""

    def __init__(self, field: str, info: FieldInfo, prefix: str) -> None:
        aliases = info.validation_alias
        extra = aliases.choices if isinstance(aliases, AliasChoices) else []
        self.field = field
        self.names = [f"{prefix}{field.upper()}", *(str(name) for name in extra if name != field)]
        self.description = info.description or ""
        self.default = info.get_default(call_default_factory=True, validated_data={})
        self.is_secret = info.annotation in (SecretStr, SecretStr | None)

    @property
    def file_names(self) -> list[str]:
        return [f"{name}{FILE_SUFFIX}" for name in self.names] if self.is_secret else []


def prefix_of(settings_class: type[ServiceSettings]) -> str:
    """Return the prefix of the service's own variables, such as ``LAYER_CACHE_``."""
    return f"LAYER_{settings_class.service.upper()}_"


def variables(settings_class: type[ServiceSettings]) -> list[Variable]:
    """List the fields with the variables that set them, in the order of their declaration."""
    prefix = prefix_of(settings_class)
    return [Variable(name, info, prefix) for name, info in settings_class.model_fields.items()]


def load_settings(settings_class: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """Collect, check and freeze the settings of a service.

    Raises:
        ConfigurationError: On an unknown, malformed or unreadable setting, naming it.
    """
    known = variables(settings_class)
    _refuse_unknown(settings_class, known, environment)
    values = _file_values(settings_class, environment) | dict(
        _environment_values(known, environment)
    )
    try:
        return settings_class(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "?"
        name = next((v.names[0] for v in known if v.field == field or field in v.names), field)
        raise ConfigurationError(f"{name}: {first['msg']}") from error


def _environment_values(
    known: list[Variable], environment: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    for variable in known:
        for name in variable.names:
            if name in environment:
                yield variable.field, environment[name]
                break
        else:
            for name in variable.file_names:
                if name in environment:
                    yield variable.field, _read(Path(environment[name]), name).strip()
                    break


def _file_values(
    settings_class: type[ServiceSettings], environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return the service's section of the YAML file, if there is one."""
    if not (path := environment.get(CONFIG_FILE_VARIABLE)):
        return {}
    try:
        document = yaml.safe_load(_read(Path(path), CONFIG_FILE_VARIABLE)) or {}
    except yaml.YAMLError as error:
        cause = " ".join(str(error).split())
        raise ConfigurationError(f"{CONFIG_FILE_VARIABLE}: {path} is not YAML: {cause}") from error
    section = document.get(settings_class.service) if isinstance(document, dict) else document
    if section is None:  # also a section of which every line is commented out
        return {}
    if not isinstance(section, dict):
        raise ConfigurationError(f"{CONFIG_FILE_VARIABLE}: {path} must map service names to maps")
    unknown = sorted(set(section) - set(settings_class.model_fields))
    if unknown:
        where = f"{CONFIG_FILE_VARIABLE}: {path}: {settings_class.service}.{unknown[0]}"
        raise ConfigurationError(
            f"{where} is not a setting{did_you_mean(unknown[0], list(settings_class.model_fields))}"
        )
    return section


def _refuse_unknown(
    settings_class: type[ServiceSettings], known: list[Variable], environment: Mapping[str, str]
) -> None:
    names = {name for variable in known for name in (*variable.names, *variable.file_names)}
    for name in sorted(environment.keys() - set(CLIENTS_VARIABLES)):
        if name.startswith(prefix_of(settings_class)) and name not in names:
            raise ConfigurationError(f"{name} is not a setting{did_you_mean(name, sorted(names))}")


def _read(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: not UTF-8") from error
