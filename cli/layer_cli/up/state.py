"""The state file: what runs in a home, for `layer status` and for whoever needs an address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class ProcessState(StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"  # was ready and does not answer; only `layer status` finds that out
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process as the supervisor last saw it."""

    name: str
    service: str
    state: ProcessState
    pid: int | None
    addresses: Mapping[str, str]
    restart_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRecord:
    """The processes of a home, in the order of the plan."""

    supervisor_pid: int
    processes: tuple[ProcessRecord, ...]


def write_state(path: Path, record: SystemRecord) -> None:
    """Replace the file as a whole, so that a reader never sees half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_state(path: Path) -> SystemRecord | None:
    """Return what was last written, or None when there is nothing."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    document = json.loads(text)
    processes = (
        ProcessRecord(**{**process, "state": ProcessState(process["state"])})
        for process in document["processes"]
    )
    return SystemRecord(supervisor_pid=document["supervisor_pid"], processes=tuple(processes))
