"""What else the machine has to do, without which a figure by the clock says little."""

from __future__ import annotations

import os


def machine() -> str:
    """Return the number of processors and how many processes want one, of late."""
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{os.cpu_count()} processors; load of the last 1, 5 and 15 minutes: {loads}"
