"""The processes of a local system: the same services as in production, on embedded defaults."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from layer_cli.up.home import Home
from layer_cli.up.specs import Link, Listen, ProcessSpec
from layer_kit.configuration import ConfigurationError

LOOPBACK: Final = "127.0.0.1"
PORT_MAX: Final = 65535
DATABASE_VARIABLES: Final = tuple(
    f"{name}{suffix}"
    for name in ("DATABASE_URL", "LAYER_RUNTIME_DATABASE_URL")
    for suffix in ("", "_FILE")
)
"""Any of them names a PostgreSQL of the user's, which takes the place of ours."""
REPLICAS_COUNT_MAX: Final = 16
REPLICABLE: Final = ("gateway", "cache")
ON_SOCKETS: Final = ("cache", "snapshots", "history", "runtime")
"""Services that only other services talk to: over unix sockets, named after them."""
GRACE_S_DEFAULT: Final = 10.0
GRACE_S_MAX: Final = 600.0
GRACE_S_MARGIN: Final = 5.0
"""Beyond its grace a process gets this long to flush and close before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user chose about the system.

    Raises:
        ConfigurationError: A choice is out of its range.
    """

    http_port: int
    """0 = any free port."""
    grpc_port: int
    upstream: str | None
    """URL of the store; None = the embedded one."""
    replicas: Mapping[str, int]
    """How many of a service, by its name; 1 where it is not named."""
    log_level: str | None
    log_format: str

    def __post_init__(self) -> None:
        if self.upstream and not self.upstream.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"--upstream {self.upstream!r} is not a URL that starts with http:// or https://"
            )
        for name, count in self.replicas.items():
            if name not in REPLICABLE:
                raise ConfigurationError(
                    f"--replicas {name}={count}: only {', '.join(REPLICABLE)} can be replicated"
                )
            if not 1 <= count <= REPLICAS_COUNT_MAX:
                raise ConfigurationError(
                    f"--replicas {name}={count}: the number must be 1 to {REPLICAS_COUNT_MAX}"
                )
        for flag, port in (("--http-port", self.http_port), ("--grpc-port", self.grpc_port)):
            if port + self.gateway_count - 1 > PORT_MAX:
                raise ConfigurationError(
                    f"{flag} {port}: the port of the last replica would be above {PORT_MAX}"
                )

    @property
    def gateway_count(self) -> int:
        return self.replicas.get("gateway", 1)

    @property
    def cache_names(self) -> list[str]:
        """The names of the caches; also those of their sockets and data directories."""
        return [_numbered("cache", index) for index in range(self.replicas.get("cache", 1))]

    @property
    def socket_names(self) -> list[str]:
        """The names of all sockets."""
        # The one of PostgreSQL, `.s.PGSQL.5432`, is as long as `postgres.sock`.
        others = [name for name in ON_SOCKETS if name != "cache"]
        return [*self.cache_names, *others, "gateway", "postgres"]


def local_system(
    home: Home, options: Options, environment: Mapping[str, str]
) -> tuple[ProcessSpec, ...]:
    """Return the processes in the order in which they become ready.

    Args:
        home: Where data and sockets are.
        options: The user's choices.
        environment: The user's variables, for the grace that each service was given.
    """
    defaults = {"LOG_FORMAT": options.log_format}
    if options.log_level:
        defaults["LOG_LEVEL"] = options.log_level
    plan = _Plan(home=home, options=options, environment=environment, defaults=defaults)
    stores = [] if options.upstream else [plan.vectorstore()]
    caches = [plan.cache(name) for name in options.cache_names]
    has_database = any(environment.get(name) for name in DATABASE_VARIABLES)
    databases = [] if has_database else [plan.postgres()]
    middle = [
        *caches,
        plan.snapshots(),
        plan.history(),
        plan.runtime(databases=databases),
    ]
    before = tuple(spec.name for spec in (*stores, *databases, *middle))
    gateways = [plan.gateway(index, after=before) for index in range(options.gateway_count)]
    return (*stores, *databases, *middle, *gateways)


def remove_left_caches(home: Home, options: Options) -> None:
    """Remove what caches hold that no longer run: they would come back not knowing of writes."""
    for directory in home.path.glob("cache-*"):
        if directory.name not in options.cache_names:
            shutil.rmtree(directory, ignore_errors=True)


def refuse_missing_packages(specs: tuple[ProcessSpec, ...]) -> None:
    """Check that each service can be started by this interpreter.

    Raises:
        ConfigurationError: The package of a service is not installed.
    """
    for service in dict.fromkeys(spec.service for spec in specs):
        package = f"layer_{service}"
        if find_spec(package) is None or find_spec(f"{package}.__main__") is None:
            raise ConfigurationError(
                f"the package {package} is not installed beside this command; "
                "run it from a checkout, after `make up` has prepared it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    home: Home
    options: Options
    environment: Mapping[str, str]
    defaults: Mapping[str, str]

    def vectorstore(self) -> ProcessSpec:
        return self._spec(
            "vectorstore",
            listens=[Listen(kind="http", variable="HTTP_ADDRESS", address=f"{LOOPBACK}:0")],
            defaults={"DATA_DIRECTORY": str(self.home.path / "vectorstore")},
        )

    def cache(self, name: str) -> ProcessSpec:
        directory = self.home.path / name
        listens = [
            Listen(kind="grpc", variable="GRPC_ADDRESS", address=self.home.socket_address(name))
        ]
        # Settled where there are several: a directory of the user's would be everyone's.
        settled = {"LAYER_CACHE_DATA_DIRECTORY": str(directory)}
        is_alone = len(self.options.cache_names) == 1
        return self._spec(
            "cache",
            name=name,
            listens=listens,
            variables=None if is_alone else settled,
            defaults={"DATA_DIRECTORY": str(directory)},
        )

    def snapshots(self) -> ProcessSpec:
        return self.on_socket(
            "snapshots",
            OBJECTS_DIRECTORY=str(self.home.path / "objects"),
            GATEWAY_ADDRESS=self.home.socket_address("gateway"),
            CACHE_ADDRESS=self._cache_addresses,
        )

    def history(self) -> ProcessSpec:
        return self.on_socket(
            "history",
            DATA_DIRECTORY=str(self.home.path / "history"),
            OBJECTS_DIRECTORY=str(self.home.path / "objects"),
            CACHE_ADDRESS=self._cache_addresses,
        )

    @property
    def _cache_addresses(self) -> str:
        return ",".join(map(self.home.socket_address, self.options.cache_names))

    def postgres(self) -> ProcessSpec:
        return self._spec(
            "postgres",
            listens=[],
            variables={"LAYER_POSTGRES_SOCKET_DIRECTORY": str(self.home.sockets)},
            defaults={"DATA_DIRECTORY": str(self.home.path / "postgres")},
        )

    def runtime(self, *, databases: list[ProcessSpec]) -> ProcessSpec:
        return self.on_socket(
            "runtime",
            links=tuple(
                Link(variable="LAYER_RUNTIME_DATABASE_URL", process=spec.name, kind="postgres")
                for spec in databases
            ),
            GATEWAY_ADDRESS=self.home.socket_address("gateway"),
            CACHE_ADDRESS=self._cache_addresses,
            OBJECTS_DIRECTORY=str(self.home.path / "objects"),
        )

    def on_socket(
        self, service: str, *, links: tuple[Link, ...] = (), **defaults: str
    ) -> ProcessSpec:
        address = self.home.socket_address(service)
        listens = [Listen(kind="grpc", variable="GRPC_ADDRESS", address=address)]
        after = tuple(link.process for link in links)
        return self._spec(service, listens=listens, links=links, defaults=defaults, after=after)

    def gateway(self, index: int, *, after: tuple[str, ...]) -> ProcessSpec:
        http_port = self.options.http_port and self.options.http_port + index
        grpc_port = self.options.grpc_port and self.options.grpc_port + index
        variables = {
            "LAYER_GATEWAY_CACHE_ADDRESS": self._cache_addresses,
            "LAYER_GATEWAY_HISTORY_ADDRESS": self.home.socket_address("history"),
            "LAYER_GATEWAY_SNAPSHOTS_ADDRESS": self.home.socket_address("snapshots"),
            "LAYER_GATEWAY_RUNTIME_ADDRESS": self.home.socket_address("runtime"),
        }
        if index == 0:  # the one that other services call
            variables["LAYER_GATEWAY_BESIDE_ADDRESS"] = self.home.socket_address("gateway")
        upstream = "LAYER_GATEWAY_UPSTREAM_URL"
        links: tuple[Link, ...] = ()
        if self.options.upstream:
            variables[upstream] = self.options.upstream
        else:
            links = (Link(variable=upstream, process="vectorstore", kind="http", scheme="http://"),)
        name = _numbered("gateway", index)
        return self._spec(
            "gateway",
            name=name,
            listens=[
                Listen(kind="http", variable="HTTP_ADDRESS", address=f"{LOOPBACK}:{http_port}"),
                Listen(kind="grpc", variable="GRPC_ADDRESS", address=f"{LOOPBACK}:{grpc_port}"),
            ],
            links=links,
            variables=variables,
            defaults={
                "OBJECTS_DIRECTORY": str(self.home.path / "objects"),
                "HISTORY_SPOOL_DIRECTORY": str(self.home.path / "history-spool" / name),
            },
            after=after,
        )

    def _spec(
        self,
        service: str,
        *,
        name: str = "",
        listens: list[Listen],
        links: tuple[Link, ...] = (),
        variables: Mapping[str, str] | None = None,
        defaults: Mapping[str, str] | None = None,
        after: tuple[str, ...] = (),
    ) -> ProcessSpec:
        """Complete a spec: operations port, full names of variables, grace."""
        prefix = f"LAYER_{service.upper()}_"
        ops = Listen(kind="ops", variable="OPS_ADDRESS", address=f"{LOOPBACK}:0")
        return ProcessSpec(
            name=name or service,
            service=service,
            # -P: a file in the current directory must not stand in for one of our modules.
            command=(sys.executable, "-P", "-m", f"layer_{service}"),
            listens=tuple(
                Listen(kind=one.kind, variable=prefix + one.variable, address=one.address)
                for one in (*listens, ops)
            ),
            links=links,
            variables=variables or {},
            defaults={
                prefix + key: value for key, value in {**self.defaults, **(defaults or {})}.items()
            },
            after=after,
            stop_s_max=self._grace_s(f"{prefix}SHUTDOWN_GRACE_S") + GRACE_S_MARGIN,
        )

    def _grace_s(self, variable: str) -> float:
        try:
            grace_s = float(self.environment.get(variable, GRACE_S_DEFAULT))
        except ValueError:
            grace_s = GRACE_S_DEFAULT
        # One out of range stops the service, with a better message than ours could be.
        return min(max(0.0, grace_s), GRACE_S_MAX)


def _numbered(service: str, index: int) -> str:
    return service if index == 0 else f"{service}-{index + 1}"
