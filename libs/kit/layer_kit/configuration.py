"""A fault of the environment that only an operator can mend, told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

EXIT_CODE: Final = 2


class ConfigurationError(Exception):
    """Stops the start of a process with exit code 2 and this message as its one line.

    Raised for a bad or unknown setting, an address that cannot be bound, or a directory that
    cannot be written.
    """


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the closest of ``names``, or nothing when none is close."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
