"""A fault of the environment that only an operator can mend, told in one line."""

from __future__ import annotations

from typing import Final

EXIT_CODE: Final = 2


class ConfigurationError(Exception):
    """Stops the start of a process with exit code 2 and this message as its one line.

    Raised for a bad or unknown setting, an address that cannot be bound, or a directory that
    cannot be written.
    """
