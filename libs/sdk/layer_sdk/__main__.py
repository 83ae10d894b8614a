"""Run a worker: ``python -m layer_sdk package.module:function``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys

from layer_sdk.running import start_worker
from layer_sdk.transport import Refused, Unavailable
from layer_sdk.worker_loop import DRAIN_S_MAX


def main() -> int:
    parser = argparse.ArgumentParser(prog="layer-worker", description=__doc__)
    parser.add_argument("worker", help="package.module:function, marked by @udf or @pipeline_stage")
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    parser.add_argument(
        "--drain",
        type=float,
        default=DRAIN_S_MAX,
        metavar="SECONDS",
        help="how long a running call may go on after SIGTERM",
    )
    arguments = parser.parse_args()
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


if __name__ == "__main__":
    sys.exit(main())
