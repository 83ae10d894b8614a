"""Parameters of lists, as several routes have them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from layer_kit.errors import InvalidRequestError

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500

_NUMBER: Final = re.compile(r"[0-9]{1,19}")


def page_limit(given: Mapping[str, str]) -> int:
    """Return how many entries a page has; what is above ``LIMIT_MAX`` is cut.

    Raises:
        InvalidRequestError: ``PARAMETER_INVALID``, as from all of these.
    """
    text = given.get("limit") or str(LIMIT_DEFAULT)
    if _NUMBER.fullmatch(text) is None or int(text) < 1:
        raise parameter_invalid("limit", text, f"a number from 1 to {LIMIT_MAX}")
    return min(int(text), LIMIT_MAX)


def moment_number(given: Mapping[str, str], name: str, *, most: int, unit: str) -> int | None:
    """Return a moment that is given as a number since 1970; None where it is not given."""
    text = given.get(name, "")
    if not text:
        return None
    if _NUMBER.fullmatch(text) is None or int(text) > most:
        raise parameter_invalid(name, text, f"{unit} since 1970")
    return int(text)


def parameter_invalid(name: str, text: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(
        "PARAMETER_INVALID", f"{name} {text[:64]!r} is not {what}.", field=name
    )
