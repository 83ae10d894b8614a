"""The gateway without a runtime service: there are no functions."""

from __future__ import annotations

from typing import NoReturn

from layer_kit.errors import NotFoundError
from layer_wire import functions as wire


def off() -> NotFoundError:
    """Return what says that functions are not offered here."""
    return NotFoundError(
        "FUNCTIONS_OFF",
        "This installation runs no functions: its gateway has no runtime service, or that has no "
        "database.",
    )


class NoFunctions:
    """Refuses all that concerns functions."""

    async def create(self, body: wire.CreateUdf) -> NoReturn:
        raise off()

    async def put(self, function_id: str, spec: wire.UdfSpec) -> NoReturn:
        raise off()

    async def list(self) -> NoReturn:
        raise off()

    async def get(self, function_id: str) -> NoReturn:
        raise off()

    async def status(self, function_id: str) -> NoReturn:
        raise off()

    async def delete(self, function_id: str) -> NoReturn:
        raise off()

    async def pause(self, function_id: str, reason: str) -> NoReturn:
        raise off()

    async def resume(self, function_id: str) -> NoReturn:
        raise off()

    async def reset_failed(self, function_id: str) -> NoReturn:
        raise off()

    async def failed_items(self, function_id: str, *, limit: int, page_token: str) -> NoReturn:
        raise off()

    async def discover(self, function_id: str, body: wire.Discover) -> NoReturn:
        raise off()

    async def claim(self, function_id: str, body: wire.Claim) -> NoReturn:
        raise off()

    async def heartbeat(self, function_id: str, body: wire.Heartbeat) -> NoReturn:
        raise off()

    async def complete(self, function_id: str, body: wire.Complete) -> NoReturn:
        raise off()

    async def look_up(self, function_id: str, body: wire.Lookup) -> NoReturn:
        raise off()

    async def fail(self, function_id: str, body: wire.Fail) -> NoReturn:
        raise off()

    async def create_candidate(self, function_id: str, body: wire.CreateCandidate) -> NoReturn:
        raise off()

    async def candidate(self, function_id: str) -> NoReturn:
        raise off()

    async def delete_candidate(self, function_id: str) -> NoReturn:
        raise off()

    async def compare_candidate(self, function_id: str, wanted: wire.Compare) -> NoReturn:
        raise off()

    async def promote_candidate(self, function_id: str, body: wire.PromoteCandidate) -> NoReturn:
        raise off()
