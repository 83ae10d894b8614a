"""Keys below a folder in the order of S3, without looking at more folders than needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(root: Path, prefix: str, after: str) -> Iterator[str]:
    """Yield keys that start with ``prefix`` and are greater than ``after``, by UTF-8 bytes.

    A folder's name is compared with the slash that follows it, which puts ``a.txt`` before what is
    in ``a/`` and ``a0`` after it: as if all keys stood in one list.
    """
    folder, slash, _ = prefix.rpartition("/")
    yield from _walk(root / folder, folder + slash, prefix.encode(), after.encode())


def _walk(folder: Path, base: str, prefix: bytes, after: bytes) -> Iterator[str]:
    for name, is_folder in sorted(_entries(folder), key=lambda entry: entry[0].encode()):
        key = base + name
        encoded = key.encode()
        if not is_folder:
            if encoded.startswith(prefix) and encoded > after:
                yield key
            continue
        is_inside = encoded.startswith(prefix) or prefix.startswith(encoded)
        is_behind = after > encoded and not after.startswith(encoded)
        if is_inside and not is_behind:
            yield from _walk(folder / name, key, prefix, after)


def _entries(folder: Path) -> list[tuple[str, bool]]:
    try:
        with os.scandir(folder) as entries:
            return [
                (f"{entry.name}/", True) if entry.is_dir() else (entry.name, False)
                for entry in entries
            ]
    except (FileNotFoundError, NotADirectoryError):
        # Nothing there, or a delete has just removed it.
        return []
