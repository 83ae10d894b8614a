"""Run a worker: ``python -m layer_sdk package.module:function``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys

from layer_sdk.running import start_worker
from layer_sdk.transport import Refused


def main() -> int:
    parser = argparse.ArgumentParser(prog="layer-worker", description=__doc__)
    parser.add_argument("worker", help="package.module:function, marked by @udf or @pipeline_stage")
    parser.add_argument("--once", action="store_true", help="end when nothing is left to do")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    module, _, name = arguments.worker.partition(":")
    if not name:
        parser.error(f"{arguments.worker!r} is not module:function")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- where its module is
    try:
        count = start_worker(getattr(importlib.import_module(module), name), once=arguments.once)
    except (ImportError, AttributeError, ValueError, Refused) as error:
        parser.exit(2, f"layer-worker: {error}\n")
    print(f"completed {count}")  # noqa: T201 -- the command's own answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
