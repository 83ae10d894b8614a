"""The rules of our protos that a compiler does not know.

They are those of the API Improvement Proposals that we follow: 122 and 190 names, 126 enums, 141
and 142 quantities and times, 158 pages, 191 files, 192 comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

PACKAGE: Final = re.compile(r"layer\.[a-z]+\.v[1-9][0-9]*")
PASCAL_CASE: Final = re.compile(r"([A-Z][a-z0-9]+)+")
SNAKE_CASE: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
WORD_STARTS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
SPANS_WITHOUT_UNIT: Final = ("age", "delay", "duration", "interval", "latency", "timeout", "ttl")
TIMESTAMP: Final = ".google.protobuf.Timestamp"

Kind = FieldDescriptorProto.Type
UNSIGNED: Final = (
    FieldDescriptorProto.TYPE_UINT32,
    FieldDescriptorProto.TYPE_UINT64,
    FieldDescriptorProto.TYPE_FIXED32,
    FieldDescriptorProto.TYPE_FIXED64,
)
PAGE_REQUEST: Final = {
    "page_size": FieldDescriptorProto.TYPE_INT32,
    "page_token": FieldDescriptorProto.TYPE_STRING,
}
PAGE_RESPONSE: Final = {"next_page_token": FieldDescriptorProto.TYPE_STRING}

# Numbers of the fields of descriptor.proto, which source locations are made of.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED_MESSAGES, NESTED_ENUMS, ONEOFS = 2, 3, 4, 8
VALUES = METHODS = 2


def violations(files: FileDescriptorSet) -> list[str]:
    """Describe each place where ``files`` break a rule: ``element: what is wrong``."""
    return [found for file in files.file for found in _File(file).violations()]


class _File:
    """One file with its comments by location."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._commented = {
            tuple(place.path)
            for place in file.source_code_info.location
            if place.leading_comments.strip()
        }
        self._messages = {f".{file.package}.{each.name}": each for each in file.message_type}

    def violations(self) -> Iterator[str]:
        yield from self._of_place()
        for index, service in enumerate(self._file.service):
            yield from self._of_service((SERVICES, index), service)
        for index, message in enumerate(self._file.message_type):
            yield from self._of_message((MESSAGES, index), self._file.package, message)
        for index, enum in enumerate(self._file.enum_type):
            yield from self._of_enum((ENUMS, index), self._file.package, enum)

    def _of_place(self) -> Iterator[str]:
        name, package = self._file.name, self._file.package
        if PACKAGE.fullmatch(package) is None:
            yield f"{name}: package {package!r} is not layer.<api>.v<number>"
            return
        folder = PurePosixPath(*package.split("."))
        expected = folder / f"{folder.parts[1]}.proto"
        if name != str(expected):
            yield f"{name}: package {package} belongs into {expected}"

    def _of_service(self, path: tuple[int, ...], service: ServiceDescriptorProto) -> Iterator[str]:
        name = f"{self._file.package}.{service.name}"
        yield from self._comment(path, name)
        if PASCAL_CASE.fullmatch(service.name) is None or not service.name.endswith("Service"):
            yield f"{name}: a service is named in PascalCase and ends in Service"
        for index, method in enumerate(service.method):
            where = f"{name}.{method.name}"
            yield from self._comment((*path, METHODS, index), where)
            yield from self._of_method(where, method)

    def _of_method(self, where: str, method: MethodDescriptorProto) -> Iterator[str]:
        if PASCAL_CASE.fullmatch(method.name) is None:
            yield f"{where}: a method is named in PascalCase"
        for kind, type_name in (("Request", method.input_type), ("Response", method.output_type)):
            if type_name != f".{self._file.package}.{method.name}{kind}":
                yield f"{where}: its {kind.lower()} is not named {method.name}{kind}"
        if not method.name.startswith("List"):
            return
        yield from self._of_page(where, method.input_type, PAGE_REQUEST)
        yield from self._of_page(where, method.output_type, PAGE_RESPONSE)

    def _of_page(
        self, where: str, type_name: str, wanted: dict[str, Kind.ValueType]
    ) -> Iterator[str]:
        message = self._messages.get(type_name, DescriptorProto())
        types = {field.name: field.type for field in message.field}
        for name, kind in wanted.items():
            if types.get(name) != kind:
                spelled = Kind.Name(kind).removeprefix("TYPE_").lower()
                yield f"{where}: a listing is paged; {message.name} lacks {spelled} {name}"

    def _of_message(
        self, path: tuple[int, ...], parent: str, message: DescriptorProto
    ) -> Iterator[str]:
        if message.options.map_entry:  # made by the compiler
            return
        name = f"{parent}.{message.name}"
        yield from self._comment(path, name)
        if PASCAL_CASE.fullmatch(message.name) is None:
            yield f"{name}: a message is named in PascalCase"
        for index, field in enumerate(message.field):
            yield from self._comment((*path, FIELDS, index), f"{name}.{field.name}")
            yield from _of_field(f"{name}.{field.name}", field)
        for index, oneof in enumerate(message.oneof_decl):
            if not oneof.name.startswith("_"):  # made by the compiler for an optional field
                yield from self._comment((*path, ONEOFS, index), f"{name}.{oneof.name}")
        for index, nested in enumerate(message.nested_type):
            yield from self._of_message((*path, NESTED_MESSAGES, index), name, nested)
        for index, enum in enumerate(message.enum_type):
            yield from self._of_enum((*path, NESTED_ENUMS, index), name, enum)

    def _of_enum(
        self, path: tuple[int, ...], parent: str, enum: EnumDescriptorProto
    ) -> Iterator[str]:
        name = f"{parent}.{enum.name}"
        yield from self._comment(path, name)
        if PASCAL_CASE.fullmatch(enum.name) is None:
            yield f"{name}: an enum is named in PascalCase"
        prefix = f"{WORD_STARTS.sub('_', enum.name).upper()}_"
        for index, value in enumerate(enum.value):
            yield from self._comment((*path, VALUES, index), f"{name}.{value.name}")
            if not value.name.startswith(prefix):
                yield f"{name}.{value.name}: a value starts with {prefix}"
            if value.number == 0 and value.name != f"{prefix}UNSPECIFIED":
                yield f"{name}.{value.name}: the value of 0 is {prefix}UNSPECIFIED"

    def _comment(self, path: Sequence[int], name: str) -> Iterator[str]:
        if tuple(path) not in self._commented:
            yield f"{name}: has no comment"


def _of_field(where: str, field: FieldDescriptorProto) -> Iterator[str]:
    if SNAKE_CASE.fullmatch(field.name) is None:
        yield f"{where}: a field is named in snake_case"
    if field.type in UNSIGNED:
        yield f"{where}: unsigned integers are not used; take int32 or int64"
    if field.name.rpartition("_")[2] in SPANS_WITHOUT_UNIT and field.type != Kind.TYPE_MESSAGE:
        yield f"{where}: a span of time ends in its unit, such as _ms or _s"
    if field.name.endswith("_time") and field.type_name != TIMESTAMP:
        yield f"{where}: a _time is a google.protobuf.Timestamp; a number ends in its unit"
