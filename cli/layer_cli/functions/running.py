"""Running a function over its namespaces: register, look for rows, and wait until all are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from layer_cli.edge import Edge, EdgeError
from layer_cli.functions.manifest import Manifest, differing

CONFLICT: Final = 409

Status = Mapping[str, Any]


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

    def discover(self) -> None:
        """Look for due rows, all of them."""
        body: dict[str, Any] = {}
        while True:
            found = self.edge.call("POST", f"{self._path}/discover", body)
            if not found.get("next_cursor"):
                return
            body = {"cursor": found["next_cursor"]}

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
            left_count = status["pending_count"] + status["processing_count"]
            if status["discovery"]["sweeps_completed"] > sweeps_before and not left_count:
                return status
            check()
            time.sleep(poll_interval_s)
