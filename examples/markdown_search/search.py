"""Find the chunks that are nearest to a question."""

from __future__ import annotations

import os
import sys

import turbopuffer
from embedders import PIPELINE, embedder


def main() -> None:
    (vector,) = embedder()([" ".join(sys.argv[1:])])
    base_url = os.environ.get("LAYER_BASE_URL", "http://127.0.0.1:8080")
    client = turbopuffer.Turbopuffer(api_key="local", base_url=base_url)
    found = client.namespace(PIPELINE).query(
        rank_by=("vector", "ANN", vector), top_k=3, include_attributes=["path", "heading"]
    )
    for row in found.rows or ():
        print(f"{row.path}: {row.heading}")


if __name__ == "__main__":
    main()
