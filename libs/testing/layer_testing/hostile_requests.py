"""Requests that hold whatever their types allow, and what a service must make of them.

They are made of descriptors, so a new call or field is tried without another line here.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from random import Random
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

SEED: Final = int(os.environ.get("LAYER_TEST_SEED") or secrets.randbelow(2**32))
REQUESTS_PER_CALL: Final = 40
TIMEOUT_S: Final = 30.0
LEFT_OUT_SHARE: Final = 0.2
MANY_SHARE: Final = 0.2

REFUSALS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
}
TEXTS: Final = [
    "books",
    "books",
    "books",
    "",
    "no/slash",
    "é",
    "\0",
    "..",
    "x" * 300,
    "x" * 100_000,
]
BYTES: Final = [
    *(b"u1", b"sone", b"g" + bytes(16), b"{}", b'{"a":1}', b'["a","Eq",1]'),
    *(
        b"",
        b"\xff",
        b"s\xff\xfe",
        b"u-1",
        b"z",
        b"x" * 600,
        b"null",
        b"[]",
        b'{"a":',
        b'{"a":\xff}',
    ),
    *(b'{"a":1e999}', b'{"\\ud800":1}', b"[" * 50_000, b'{"a":' * 50_000, b'["And",' * 20_000),
    b'{"a":"' + b"x" * 9_000_000 + b'"}',
]
UNREADABLE: Final = [b"\xff" * 9, b"\x0a\x64short", b"\x0a\x01\xff"]
"""A tag that never ends, a field longer than its message, and, where the first field is text, text
that is not UTF-8."""

INTEGERS: Final = [0, 1, 2, 1_000, -1, 2**31 - 1, -(2**31), 2**62]
COUNTS: Final = [0, 1, 1, 2, 2, 3, 1_001, 10_001]


async def internal_errors(address: str, file: FileDescriptor) -> list[str]:
    """Send requests to every call of the services of ``file``.

    Returns:
        What was neither carried out nor refused by name. ``LAYER_TEST_SEED`` repeats it.
    """
    random = Random(SEED)  # noqa: S311 -- to be repeatable
    found = []
    async with grpc.aio.insecure_channel(address) as channel:
        for service in file.services_by_name.values():
            for method in service.methods:
                made = (
                    _filled(GetMessageClass(method.input_type)(), random)
                    for _ in range(REQUESTS_PER_CALL)
                )
                for request in (*(one.SerializeToString() for one in made), *UNREADABLE):
                    code, details = await outcome(channel, method, request)
                    if code not in REFUSALS and code is not grpc.StatusCode.OK:
                        shown = repr(request[:500])
                        found.append(f"seed {SEED}: {method.full_name}: {code} {details}: {shown}")
    return found


def _filled(message: Any, random: Random) -> Any:
    """Fill most fields with what may or may not belong there."""
    for field in message.DESCRIPTOR.fields:
        if random.random() < LEFT_OUT_SHARE:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[random.choice(TEXTS)] = random.choice(TEXTS)
        elif field.is_repeated:
            some = [_value(field, random) for _ in range(random.choice(COUNTS[:6]))]
            getattr(message, field.name).extend(some or _value_times(field, random))
        elif field.message_type is not None:
            _filled(getattr(message, field.name), random)
        else:
            setattr(message, field.name, _value(field, random))
    return message


def _value_times(field: FieldDescriptor, random: Random) -> list[Any]:
    """Return one small value very often, now and then."""
    if field.message_type is not None or random.random() > MANY_SHARE:
        return []
    text = b"u1" if field.type == FieldDescriptor.TYPE_BYTES else "books"
    is_text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING
    return [text if is_text else 1] * random.choice(COUNTS)


def _value(field: FieldDescriptor, random: Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return random.choice(BYTES)
        case FieldDescriptor.CPPTYPE_STRING:
            return random.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return random.choice([False, True])
        case FieldDescriptor.CPPTYPE_ENUM:
            return random.choice([0, 1, 2, 3, 4, 5, 99])
        case FieldDescriptor.CPPTYPE_MESSAGE if field.message_type is not None:
            return _filled(GetMessageClass(field.message_type)(), random)
        case FieldDescriptor.CPPTYPE_INT32:
            return random.choice([one for one in INTEGERS if abs(one) < 2**31])
        case _:
            return random.choice(INTEGERS)


async def outcome(
    channel: Any, method: MethodDescriptor, request: bytes
) -> tuple[grpc.StatusCode, str | None]:
    """Send a request, or what is none, to a method of any kind; return how it ended."""
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    call = make(f"/{method.containing_service.full_name}/{method.name}")(
        _once(request) if method.client_streaming else request, timeout=TIMEOUT_S
    )
    try:
        if method.server_streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, None


async def _once(request: bytes) -> AsyncIterator[bytes]:
    yield request
