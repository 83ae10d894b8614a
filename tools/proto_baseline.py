"""Record what our APIs promise, and tell which promises a change would break.

Usage: ``proto_baseline.py [--accept-breaking]``, from the repository's root. It rewrites
``proto/baseline.txt``, one promise a line, and refuses while a promise of the old one is broken:
a field, a value, a message or a method that is gone, has another number, name or type. A client
built yesterday must go on working, so accept a break only where no client can exist.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from proto_descriptors import parse

PROTO_ROOT = Path("proto")
BASELINE = PROTO_ROOT / "baseline.txt"
HOW_TO_RECORD = "record it with: .venv/bin/python tools/proto_baseline.py"
HOW_TO_ACCEPT = (
    "if no client can exist yet: .venv/bin/python tools/proto_baseline.py --accept-breaking"
)

Promises = dict[str, str]
"""What an API element is, by its place: ``field layer.x.v1.Row/1`` → ``string id``."""


def promises(files: FileDescriptorSet) -> Promises:
    """Collect what every API element of ``files`` promises to clients."""
    found: Promises = {}
    for file in files.file:
        for service in file.service:
            found.update(_of_service(file.package, service))
        for message in file.message_type:
            found.update(_of_message(file.package, message))
        for enum in file.enum_type:
            found.update(_of_enum(file.package, enum))
    return found


def broken(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Describe the promises of ``old`` that ``new`` does not keep, in the order of ``old``."""
    return [
        f"{place} was “{promise}” and is {f'“{new[place]}”' if place in new else 'gone'}"
        for place, promise in old.items()
        if new.get(place) != promise
    ]


def unrecorded(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Describe the promises of ``new`` that ``old`` does not hold."""
    return [f"{place} is new: “{promise}”" for place, promise in new.items() if place not in old]


def read(path: Path) -> Promises:
    """Read a baseline."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split(" = ", 1) for line in lines)


def write(path: Path, found: Mapping[str, str]) -> None:
    """Write a baseline, sorted so that a change of it reads well in review."""
    lines = [f"{place} = {promise}\n" for place, promise in sorted(found.items())]
    path.write_text("".join(lines), encoding="utf-8")


def _of_service(package: str, service: ServiceDescriptorProto) -> Iterator[tuple[str, str]]:
    name = f"{package}.{service.name}"
    yield f"service {name}", "service"
    for method in service.method:
        request = f"{'stream ' if method.client_streaming else ''}{method.input_type[1:]}"
        response = f"{'stream ' if method.server_streaming else ''}{method.output_type[1:]}"
        yield f"method {name}/{method.name}", f"{request} -> {response}"


def _of_message(parent: str, message: DescriptorProto) -> Iterator[tuple[str, str]]:
    name = f"{parent}.{message.name}"
    yield f"message {name}", "map entry" if message.options.map_entry else "message"
    for field in message.field:
        yield f"field {name}/{field.number}", _of_field(message, field)
    for nested in message.nested_type:
        yield from _of_message(name, nested)
    for enum in message.enum_type:
        yield from _of_enum(name, enum)


def _of_field(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    words = []
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        words.append("repeated")
    if field.proto3_optional:
        words.append("optional")
    elif field.HasField("oneof_index"):
        words.append(f"oneof {message.oneof_decl[field.oneof_index].name}")
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return " ".join([*words, field.type_name[1:] or kind, field.name])


def _of_enum(parent: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, str]]:
    name = f"{parent}.{enum.name}"
    yield f"enum {name}", "enum"
    for value in enum.value:
        yield f"value {name}/{value.number}", value.name


def main(arguments: list[str]) -> int:
    """Rewrite the baseline; return 1 when that needs ``--accept-breaking``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--accept-breaking", action="store_true", help="record broken promises too")
    options = parser.parse_args(arguments)
    found = promises(parse(PROTO_ROOT))
    breaks = broken(read(BASELINE), found) if BASELINE.exists() else []
    if breaks and not options.accept_breaking:
        print(*breaks, HOW_TO_ACCEPT, sep="\n", file=sys.stderr)
        return 1
    write(BASELINE, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
