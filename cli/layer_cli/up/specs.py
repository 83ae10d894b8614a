"""What the supervisor is told about a process. It knows no service by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["grpc", "http", "ops", "postgres"]
"""The kinds of address in a process's ``listening`` line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """An address to listen on. What port 0 became is kept when the process is restarted."""

    kind: Kind
    variable: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Tells a process where ``process``, one that is ready before it, listens."""

    variable: str
    process: str
    kind: Kind
    scheme: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process of the system."""

    name: str
    """Unique in the system; the prefix of its log lines."""
    service: str
    command: tuple[str, ...]
    listens: tuple[Listen, ...]
    links: tuple[Link, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Settled by the plan: they win over the user's environment, as addresses do."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """The user's environment wins over these."""
    after: tuple[str, ...] = ()
    """Names of the processes that are ready before this one starts and stop after it."""
    stop_s_max: float = 15.0
    """Seconds between SIGTERM and SIGKILL."""

    def environment(
        self,
        inherited: Mapping[str, str],
        *,
        learned: Mapping[str, str],
        addresses_of: Mapping[str, Mapping[str, str]],
    ) -> dict[str, str]:
        """Return the whole environment of the process.

        Args:
            inherited: The user's own variables.
            learned: Addresses this process reported when it last started, by kind.
            addresses_of: What the processes named by ``links`` listen on, by name and kind.
        """
        listens = {
            listen.variable: learned.get(listen.kind, listen.address) for listen in self.listens
        }
        links = {
            link.variable: f"{link.scheme}{addresses_of[link.process][link.kind]}"
            for link in self.links
        }
        return {**self.defaults, **inherited, **self.variables, **listens, **links}

    @property
    def settled_variables(self) -> set[str]:
        """Names whose value in the user's environment has no effect."""
        names = {listen.variable for listen in self.listens}
        return names | {link.variable for link in self.links} | set(self.variables)
