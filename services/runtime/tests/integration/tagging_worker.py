"""A worker that tests start as a process: it says what it does, and takes as long as it is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

from layer_sdk import PermanentError, udf


@udf(output="seen")
def tag(kind: str) -> str:
    started = Path(os.environ["TAGGING_STARTED"])
    started.write_text(kind)
    until = Path(os.environ["TAGGING_UNTIL"])
    while not until.exists():
        time.sleep(0.01)
    if kind == "poison":
        raise PermanentError("poison")
    return kind.upper()
