"""Running a function over its namespaces: register, look for rows, and wait until all are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from layer_cli.edge import Edge, EdgeError
from layer_cli.functions.manifest import Manifest, differing

CONFLICT: Final = 409
PAGES_AT_ONCE: Final = 10

Status = Mapping[str, Any]


def left_count(status: Status) -> int:
    """Return how many rows wait or are at work."""
    return int(status["pending_count"] + status["processing_count"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One function at one gateway."""

    edge: Edge
    manifest: Manifest

    @property
    def _path(self) -> str:
        return f"/v2/udfs/{quote(self.manifest.id, safe='')}"

    def apply(self, *, replaces: bool) -> None:
        """Register the function; one that is there must be the same, or is replaced.

        Raises:
            EdgeError: It is there and differs, or the gateway refuses it.
        """
        body = {"id": self.manifest.id, "spec": self.manifest.spec}
        if replaces:
            self.edge.call("PUT", self._path, {"spec": self.manifest.spec})
            return
        try:
            self.edge.call("POST", "/v2/udfs", body)
        except EdgeError as error:
            if error.status != CONFLICT:
                raise
            found = self.edge.get(self._path, {})["udf"]["spec"]
            if places := differing(self.manifest.spec, found):
                raise EdgeError(
                    f"function {self.manifest.id} is registered and differs in "
                    f"{', '.join(places)}: use --replace, or another name"
                ) from error

    def status(self) -> Status:
        found: Status = self.edge.get(f"{self._path}/status", {})
        return found

    def discover(self, shown: Callable[[Status], None]) -> None:
        """Look for due rows, all of them, a part at a time, so that no call takes too long.

        Args:
            shown: Is told of the status after each part.
        """
        body: dict[str, Any] = {"max_pages": PAGES_AT_ONCE}
        while True:
            found = self.edge.call("POST", f"{self._path}/discover", body)
            if not found.get("next_cursor"):
                return
            body["cursor"] = found["next_cursor"]
            shown(self.status())

    def reset_failed(self) -> int:
        """Let the rows wait again that were given up; return how many."""
        return int(self.edge.call("POST", f"{self._path}/reset-failed")["updated"])

    def failed(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return rows that were given up, with why."""
        found = self.edge.get(f"{self._path}/items/failed", {"limit": limit})
        rows: Sequence[Mapping[str, Any]] = found["items"]
        return rows

    def remove(self) -> None:
        self.edge.call("DELETE", self._path)

    def wait(
        self,
        *,
        sweeps_before: int,
        poll_interval_s: float,
        shown: Callable[[Status], None],
        check: Callable[[], None] = lambda: None,
    ) -> Status:
        """Wait until nothing is left to do; return the last status.

        Args:
            sweeps_before: How many sweeps had come to their end before.
            shown: Is told of every status.
            check: Is called between two looks, and may raise.
        """
        while True:
            status = self.status()
            shown(status)
            if status["paused"]:
                raise EdgeError(
                    f"function {self.manifest.id} is paused, so nothing is handed out: "
                    f"POST {self._path}/resume first"
                )
            is_swept = status["discovery"]["sweeps_completed"] > sweeps_before
            if is_swept and not left_count(status):
                return status
            check()
            time.sleep(poll_interval_s)
