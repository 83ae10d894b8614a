"""Run a worker: ``python -m layer_sdk package.module:function``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading

from layer_sdk.loops import DRAIN_S_MAX
from layer_sdk.running import start_worker
from layer_sdk.transport import Refused, Unavailable


def main() -> int:
    parser = argparse.ArgumentParser(prog="layer-worker", description=__doc__)
    parser.add_argument("worker", help="package.module:function, marked by @udf or @pipeline_stage")
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    parser.add_argument(
        "--while-stdin-open", action="store_true", help="end as well when stdin is closed"
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=DRAIN_S_MAX,
        metavar="SECONDS",
        help="how long a running call may go on after SIGTERM",
    )
    arguments = parser.parse_args()
    if arguments.while_stdin_open:
        threading.Thread(target=_stop_at_end_of_stdin, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    module, _, name = arguments.worker.partition(":")
    if not name:
        parser.error(f"{arguments.worker!r} is not module:function")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- where its module is
    try:
        function = getattr(importlib.import_module(module), name)
        count = start_worker(function, once=arguments.once, drain_s=arguments.drain)
    except (ImportError, AttributeError, ValueError, Refused, Unavailable) as error:
        parser.exit(2, f"layer-worker: {error}\n")
    print(f"completed {count}")  # noqa: T201 -- the command's own answer
    return 0


def _stop_at_end_of_stdin() -> None:
    """Stop with whoever has started us, however that one ends."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
