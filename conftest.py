"""What holds for all tests: the event loop that the services run on, and no bounds of time."""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import uvloop
from hypothesis import HealthCheck, settings

# Tests start processes. gRPC's own handlers of that end the child now and then, with SIGSEGV,
# before it has become another program. It reads this when it is first imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# No test asserts a time, and on a busy machine an example may take any.
settings.register_profile("layer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("layer")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
