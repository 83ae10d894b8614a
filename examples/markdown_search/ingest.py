"""Cut the Markdown files of a folder at their headings and stage the parts for embedding."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from pathlib import Path

from embedders import PIPELINE
from hevlayer import AsyncHevlayer

HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)


def chunks(path: Path, name: str) -> list[dict[str, object]]:
    """Return what stands between two headings, with the heading above it."""
    text = path.read_text(encoding="utf-8")
    starts = [match.start() for match in HEADING.finditer(text)] or [0]
    parts = [
        text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True)
    ]
    # Ids of rows have at most 64 bytes, which names of files may exceed.
    stem = hashlib.sha256(name.encode()).hexdigest()[:16]
    return [
        {
            "id": f"{stem}#{at}",
            "text": part,
            "metadata": {
                "path": name,
                "heading": found[1] if (found := HEADING.match(part)) else "",
            },
        }
        for at, part in enumerate(parts)
    ]


def documents(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Return the chunks of each file; the id of a document is a segment of a path."""
    found = {}
    for path in sorted(folder.rglob("*.md")):
        name = path.relative_to(folder).as_posix()
        found[name.replace("/", "~")] = chunks(path, name)
    return found


async def main() -> None:
    found = documents(Path(sys.argv[1] if len(sys.argv) > 1 else "documents"))
    base_url = os.environ.get("LAYER_BASE_URL", "http://127.0.0.1:8080")
    async with AsyncHevlayer(api_key="local", base_url=base_url) as layer:
        await layer.ensure_pipeline({"id": PIPELINE, "target_namespace": PIPELINE})
        for id_, parts in found.items():
            await layer.put_pipeline_document_chunks(PIPELINE, id_, {"chunks": parts})
    print(f"{sum(map(len, found.values()))} chunks")


if __name__ == "__main__":
    asyncio.run(main())
