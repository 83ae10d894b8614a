"""Write the products. Any Turbopuffer client does."""

from __future__ import annotations

import os

import turbopuffer

PRODUCTS = [
    {"id": "saw", "kind": "tool", "price": 18.5},
    {"id": "drill", "kind": "tool", "price": 89.0},
    {"id": "lathe", "kind": "machine", "price": 1290.0},
    {"id": "glue", "kind": "supply", "price": 4.2},
    {"id": "unpriced", "kind": "supply"},
    {"id": "sharpening", "kind": "service", "price": 12.0},
]


def main() -> None:
    base_url = os.environ.get("LAYER_BASE_URL", "http://127.0.0.1:8080")
    client = turbopuffer.Turbopuffer(api_key="local", base_url=base_url)
    client.namespace("products").write(upsert_rows=PRODUCTS)
    print(f"{len(PRODUCTS)} products")


if __name__ == "__main__":
    main()
