"""Generate messages, gRPC stubs and their types for every .proto file below a folder.

Usage: ``protogen.py PROTO_ROOT OUT``. Pants runs it for builds (proto/BUILD), the Makefile for
the plain virtual environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

WELL_KNOWN = Path(grpc_tools.__file__).with_name("_proto")


def main(root: Path, out: Path) -> int:
    """Run the compiler over ``root``; return its exit status."""
    out.mkdir(parents=True, exist_ok=True)
    # The mypy plugin is a script beside the interpreter, and a build sandbox's PATH lacks it.
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    arguments = [
        "protoc",
        f"-I{root}",
        f"-I{WELL_KNOWN}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet,readable_stubs:{out}",
        f"--mypy_grpc_out=quiet,readable_stubs,only_async:{out}",
        *sorted(str(path.relative_to(root)) for path in root.rglob("*.proto")),
    ]
    status: int = protoc.main(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
