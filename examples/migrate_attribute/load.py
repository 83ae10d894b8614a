"""Write customers in the old form."""

from __future__ import annotations

import os
import sys

import turbopuffer

CUSTOMERS = [
    {"id": 1, "name": "Ada Lovelace"},
    {"id": 2, "name": "Grace Brewster Hopper"},
    {"id": 3, "name": "Plato"},
]
LATER = [{"id": 4, "name": "Katherine Johnson"}]


def main() -> None:
    rows = LATER if "--later" in sys.argv[1:] else CUSTOMERS
    base_url = os.environ.get("LAYER_BASE_URL", "http://127.0.0.1:8080")
    client = turbopuffer.Turbopuffer(api_key="local", base_url=base_url)
    client.namespace("customers").write(upsert_rows=rows)
    print(f"{len(rows)} customers")


if __name__ == "__main__":
    main()
