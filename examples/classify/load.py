"""Write some tickets."""

from __future__ import annotations

import os

import turbopuffer

TICKETS = [
    {"id": "a", "text": "My password does not work when I log in."},
    {"id": "b", "text": "The parcel was sent to the wrong delivery address."},
    {"id": "c", "text": "You charged my card twice, please refund one payment."},
    {"id": "d", "text": "Where is the tracking number of my package?"},
]


def main() -> None:
    base_url = os.environ.get("LAYER_BASE_URL", "http://127.0.0.1:8080")
    client = turbopuffer.Turbopuffer(api_key="local", base_url=base_url)
    client.namespace("tickets").write(upsert_rows=TICKETS)
    print(f"{len(TICKETS)} tickets")


if __name__ == "__main__":
    main()
