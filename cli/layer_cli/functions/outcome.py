"""What a run has come to, as people and programs read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from layer_cli.functions.running import Status
from layer_cli.options import OutputFormat

FAILED_SHOWN_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run that has come to its end."""

    status: Status
    failed: Sequence[Mapping[str, Any]]
    """Some of the rows that were given up."""
    completed_count: int | None
    """Rows that workers of this command did; None where they ran elsewhere."""
    elapsed_s: float

    @property
    def failed_count(self) -> int:
        return int(self.status["failed_count"])

    def text(self, output: OutputFormat) -> str:
        """Return what the command prints."""
        match output:
            case OutputFormat.JSON:
                return json.dumps(self._json(), indent=2, ensure_ascii=False)
            case OutputFormat.NAMES:
                return str(self.status["udf_id"])
            case OutputFormat.TABLE:
                return "\n".join(self._lines())

    def _json(self) -> Mapping[str, object]:
        return {
            "udf_id": self.status["udf_id"],
            "completed_count": self.completed_count,
            "failed_count": self.failed_count,
            "failed": self.failed,
            "elapsed_seconds": round(self.elapsed_s, 3),
            "status": self.status,
        }

    def _lines(self) -> list[str]:
        name = self.status["udf_id"]
        done = "done" if self.completed_count is None else f"{self.completed_count} done"
        lines = [f"{name}: {done}, {self.failed_count} failed in {self.elapsed_s:.1f} s"]
        lines += [f"  {one['namespace']}/{one['id']}: {one['message']}" for one in self.failed]
        if (more_count := self.failed_count - len(self.failed)) > 0:
            lines.append(f"  and {more_count} more: GET /v2/udfs/{name}/items/failed")
        if self.failed:
            lines.append("  Once they can be done, run it again with --retry-failed.")
        return lines
