"""Candidates: another version of a function that runs beside it and keeps its outputs apart."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from layer_kit.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from layer_runtime.application.function_registry import RATE_WINDOW_S, Status
from layer_runtime.application.namespaces import namespaces_of
from layer_runtime.domain.functions import (
    FunctionSpec,
    Worker,
    candidate_id,
    parse_new_function_id,
)
from layer_runtime.domain.markers import candidate_output, markers_of
from layer_runtime.domain.spec_checks import check_outputs, check_spec
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.items import ItemQueue
from layer_runtime.ports.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Registers, finds and discards candidates."""

    functions: FunctionStore
    items: ItemQueue
    rows: Rows

    async def create(
        self,
        function_id: str,
        *,
        version: str,
        outputs: Sequence[str],
        inputs: Sequence[str],
        own_filter: bytes,
        worker: Worker | None,
        namespaces: Sequence[str],
    ) -> Status:
        """Register a candidate; what is empty or None is as of the function.

        Raises:
            InvalidRequestError: ``SPEC_INVALID``.
            AlreadyExistsError: ``CANDIDATE_EXISTS``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
        """
        live = await self.functions.get(parse_new_function_id(function_id))
        spec = replace(
            live.spec,
            version=version,
            inputs=tuple(inputs) or live.spec.inputs,
            filter=own_filter or live.spec.filter,
            worker=worker or live.spec.worker,
            target_namespaces=tuple(namespaces) or live.spec.target_namespaces,
            invalidates=(),
        )
        return await self._status(await self._create(live, spec, outputs, is_paused=False))

    async def register(
        self,
        candidate: str,
        spec: FunctionSpec,
        *,
        of: str,
        outputs: Sequence[str],
        is_paused: bool,
    ) -> Function:
        """Register a candidate as a function of its own specification; errors as for create."""
        live = await self._named(candidate, of)
        spec = replace(spec, invalidates=())
        return await self._create(live, spec, outputs, is_paused=is_paused)

    async def put(
        self, candidate: str, spec: FunctionSpec, *, of: str, outputs: Sequence[str]
    ) -> Function:
        """Replace what a candidate does, but not what it writes, or register it."""
        live = await self._named(candidate, of)
        spec = replace(spec, invalidates=())
        _check(live, spec, outputs)
        name = candidate_id(live.id)
        with contextlib.suppress(NotFoundError):
            before = await self.functions.get(name)
            if set(before.outputs) != set(outputs):
                raise InvalidRequestError(
                    "SPEC_INVALID",
                    "spec.candidate.outputs: a candidate keeps those it was registered with; "
                    "discard it to try others.",
                    field="spec.candidate.outputs",
                )
        return await self.functions.upsert(name, spec, candidate_of=live.number, outputs=outputs)

    async def _named(self, candidate: str, of: str) -> Function:
        live_id = parse_new_function_id(of)
        if candidate != candidate_id(live_id):
            raise InvalidRequestError(
                "SPEC_INVALID",
                f"spec.candidate.of: the candidate of {of!r} is {candidate_id(live_id)!r}.",
                field="spec.candidate.of",
            )
        return await self.functions.get(live_id)

    async def _create(
        self, live: Function, spec: FunctionSpec, outputs: Sequence[str], *, is_paused: bool
    ) -> Function:
        _check(live, spec, outputs)
        try:
            return await self.functions.create(
                candidate_id(live.id),
                spec,
                is_paused=is_paused,
                candidate_of=live.number,
                outputs=outputs,
            )
        except AlreadyExistsError as error:
            raise AlreadyExistsError(
                "CANDIDATE_EXISTS",
                f"Function {live.id!r} has a candidate already; discard or promote it.",
                function_id=live.id,
            ) from error

    async def get(self, function_id: str) -> Status:
        """Return the candidate of a function.

        Raises:
            NotFoundError: ``FUNCTION_NOT_FOUND`` or ``CANDIDATE_NOT_FOUND``.
        """
        return (await self.both(function_id))[1]

    async def discard(self, function_id: str) -> None:
        """Remove a candidate with its outputs; errors as for :meth:`get`."""
        live, status = await self.both(function_id)
        candidate = status.function
        # First, so that no worker writes more of what is about to be removed.
        await self.functions.delete(candidate.id)
        for namespace in await namespaces_of(candidate.spec, self.rows):
            await self._erase(live, candidate, namespace)

    async def both(self, function_id: str) -> tuple[Function, Status]:
        """Return a function and its candidate; errors as for :meth:`get`."""
        live = await self.functions.get(parse_new_function_id(function_id))
        try:
            candidate = await self.functions.get(candidate_id(live.id))
        except NotFoundError as error:
            raise NotFoundError(
                "CANDIDATE_NOT_FOUND",
                f"Function {live.id!r} has no candidate.",
                function_id=live.id,
            ) from error
        return live, await self._status(candidate)

    async def _erase(self, live: Function, candidate: Function, namespace: str) -> None:
        try:
            types = await self.rows.types(namespace)
        except NotFoundError:
            return
        mine = markers_of(candidate.id)
        outputs = [candidate_output(live.id, output) for output in candidate.outputs]
        names = [name for name in (mine.version, *outputs) if name in types]
        if mine.version in types:
            await self.rows.erase(namespace, names, [mine.version, "NotEq", None])

    async def _status(self, candidate: Function) -> Status:
        figures = await self.items.figures(candidate.number, window_s=RATE_WINDOW_S)
        return Status(function=candidate, figures=figures)


def _check(live: Function, spec: FunctionSpec, outputs: Sequence[str]) -> None:
    check_outputs(outputs)
    for output in outputs:
        candidate_output(live.id, output)
    check_spec(candidate_id(live.id), spec)
    if spec.version == live.spec.version:
        raise InvalidRequestError(
            "SPEC_INVALID",
            f"spec.version {spec.version!r} is that of the function; a candidate has another.",
            field="version",
        )
