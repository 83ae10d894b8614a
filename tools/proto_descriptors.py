"""Parse every .proto file below a folder, comments included."""

from __future__ import annotations

import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

WELL_KNOWN = Path(grpc_tools.__file__).with_name("_proto")


class ProtoSyntaxError(Exception):
    """The compiler refused a file; its reasons are on stderr."""


def parse(root: Path) -> FileDescriptorSet:
    """Return the files below ``root``, without what they import from elsewhere.

    Raises:
        ProtoSyntaxError: When the compiler refuses one of them.
    """
    with tempfile.NamedTemporaryFile() as out:
        status: int = protoc.main(
            [
                "protoc",
                f"-I{root}",
                f"-I{WELL_KNOWN}",
                "--include_source_info",
                f"--descriptor_set_out={out.name}",
                *sorted(str(path.relative_to(root)) for path in root.rglob("*.proto")),
            ]
        )
        if status != 0:
            raise ProtoSyntaxError(f"protoc ended with {status} below {root}")
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())
