"""Workers over HTTP: ``POST /run`` with a batch, answered with a result for each item.

The body is ``{"udf_id", "items": [{"namespace", "id", "input"}]}``, where an item that is a
document has ``pages`` of ``{"id", "index", "input"}`` as well, and in ``input`` a list for each
name, with the value of each page. The answer is
``{"results": [{"namespace", "id", "attributes"?, "vector"?, "vectors"?, "error"?}]}`` with an error
of ``{"kind": "transient" | "permanent", "message"}``. An item that the answer leaves out has failed
for the time being.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

import aiohttp
import msgspec

from layer.common.v1 import common_pb2
from layer_kit.errors import InvalidRequestError, UnavailableError
from layer_messages.values import fill_value, plain_json, value_json
from layer_runtime.domain.items import Claim, Failure, ItemKey, Reference, Result
from layer_runtime.ports.functions import Function
from layer_runtime.ports.workers import Answer
from layer_wire.jsontext import ABSENT, Raw, encode, is_null
from layer_wire.reserved import RESERVED_PREFIX, VECTOR_KEYS

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
RUN_PATH: Final = "/run"
MESSAGE_LENGTH_MAX: Final = 500
NO_RESULT: Final = "the worker answered without a result for this item"


class _Error(msgspec.Struct):
    kind: Literal["transient", "permanent"] = "transient"
    message: str = ""


class _Result(msgspec.Struct):
    namespace: str
    id: str
    attributes: dict[str, Raw] | None = None
    vector: Raw = ABSENT
    vectors: Raw = ABSENT
    error: _Error | None = None


class _Answer(msgspec.Struct):
    results: list[_Result]


_ANSWER: Final[msgspec.json.Decoder[_Answer]] = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpWorkers:
    """Pushes batches to where functions say that their workers are.

    Args:
        service_url: Where the workers of a function are that names only a port.
    """

    session: aiohttp.ClientSession
    service_url: str

    async def run(self, function: Function, claims: Sequence[Claim]) -> Answer:
        timeout = aiohttp.ClientTimeout(total=function.spec.worker.timeout_s)
        url = self._url(function)
        try:
            async with self.session.post(
                url,
                data=_body(function, claims),
                headers={"content-type": "application/json"},
                timeout=timeout,
            ) as response:
                text = await _read(response)
                if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                    raise _failed(f"it answered {response.status}")
                found = _ANSWER.decode(text)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _failed(str(error) or type(error).__name__) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _failed(f"its answer is not readable: {error}") from error
        return _sorted(claims, found.results)

    def _url(self, function: Function) -> str:
        worker = function.spec.worker
        if not worker.url:
            base = self.service_url.format(function_id=function.id, port=worker.port)
        else:
            base = worker.url.removesuffix(RUN_PATH)
        return f"{base.rstrip('/')}{RUN_PATH}"


def _body(function: Function, claims: Sequence[Claim]) -> bytes:
    return encode({"udf_id": function.id, "items": [_item(claim) for claim in claims]})


def _item(claim: Claim) -> dict[str, object]:
    found: dict[str, object] = {"namespace": claim.key.namespace, "id": claim.key.id}
    if not claim.pages:
        return found | {"input": _plain_inputs(claim.inputs)}
    pages = [
        {"id": page.id, "index": page.place, "input": _plain_inputs(page.inputs)}
        for page in claim.pages
    ]
    names = claim.pages[0].inputs
    columns = {name: [_plain(page.inputs[name]) for page in claim.pages] for name in names}
    return found | {"input": columns, "pages": pages}


def _plain_inputs(inputs: Mapping[str, bytes | None]) -> dict[str, object]:
    return {name: _plain(value) for name, value in inputs.items()}


def _plain(value: bytes | None) -> object:
    return None if value is None else plain_json(common_pb2.Value.FromString(value), "input")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = await response.content.read(ANSWER_BYTES_MAX + 1)
    parts, size_bytes = [body], len(body)
    while body and size_bytes <= ANSWER_BYTES_MAX:
        body = await response.content.read(ANSWER_BYTES_MAX + 1 - size_bytes)
        parts.append(body)
        size_bytes += len(body)
    if size_bytes > ANSWER_BYTES_MAX:
        raise _failed(f"its answer is longer than {ANSWER_BYTES_MAX} bytes")
    return b"".join(parts)


def _sorted(claims: Sequence[Claim], found: Sequence[_Result]) -> Answer:
    by_key = {ItemKey(one.namespace, one.id): one for one in found}
    results: list[Result] = []
    failures: list[Failure] = []
    for claim in claims:
        item, one = Reference(claim.key, claim.lease), by_key.get(claim.key)
        if one is None:
            failures.append(Failure(item, is_permanent=False, message=NO_RESULT))
        elif one.error is not None:
            is_permanent = one.error.kind == "permanent"
            failures.append(Failure(item, is_permanent=is_permanent, message=one.error.message))
        else:
            try:
                results.append(_result(item, one))
            except InvalidRequestError as error:
                failures.append(Failure(item, is_permanent=True, message=error.message))
    return Answer(results=results, failures=failures)


def _result(item: Reference, one: _Result) -> Result:
    if not is_null(one.vector) and not is_null(one.vectors):
        raise InvalidRequestError("VECTOR_INVALID", "vectors is not given beside vector.")
    return Result(
        item=item,
        attributes=_attributes(one.attributes or {}),
        vector=_value(one.vector, "[0]f32", "vector") if not is_null(one.vector) else b"",
        vectors=_value(one.vectors, "[][0]f32", "vectors") if not is_null(one.vectors) else b"",
    )


def _attributes(found: Mapping[str, Raw]) -> dict[str, bytes]:
    for name in found:
        if name.startswith(RESERVED_PREFIX) or name == "id" or name in VECTOR_KEYS:
            raise InvalidRequestError(
                "ATTRIBUTE_RESERVED", f"attributes.{name} is not an attribute to write."
            )
    return {name: _value(text, "", name) for name, text in found.items()}


def _value(text: Raw, type_: str, where: str) -> bytes:
    value = common_pb2.Value()
    fill_value(value, text, type_)
    if type_ and value.WhichOneof("kind") not in ("vector_value", "vector_list_value"):
        raise InvalidRequestError("VECTOR_INVALID", f"{where} is no vector.")
    value_json(value, where)
    return value.SerializeToString()


def _failed(cause: str) -> UnavailableError:
    return UnavailableError(
        "WORKER_FAILED", f"The worker failed: {cause[:MESSAGE_LENGTH_MAX]}.", cause=cause
    )
