"""Matching strings against regular expressions, globs and misspellings, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # it ships no types

from layer_kit.clock import Monotonic
from layer_vectorstore.domain.errors import RefusedError, SlowPatternsError

PATTERN_LENGTH_MAX: Final = 4096
PATTERN_MEMORY_BYTES_MAX: Final = 8 << 20
DISTANCE_MAX: Final = 2
ALTERNATES_DEPTH_MAX: Final = 10
SECONDS_MAX: Final = 50.0
"""That one request may spend on patterns: below the 60 s after which clients give up on it."""

_GLOB_WILDCARDS: Final = {"*": ".*", "?": "."}
_GROUP_STARTS: Final = ("(?:", "|")
_FOLDERS_FIRST: Final = "(?:/?|.*/)"
_FOLDERS_BETWEEN: Final = "(?:/|/.*/)"
_ALL_BELOW: Final = "/.*"

Test = Callable[[str], bool]


def regex_test(pattern: str) -> Test:
    """Return whether a text contains a match; RE2 needs time linear in the text.

    Raises:
        RefusedError: ``REGEX_INVALID``.
    """
    compiled = _compile(pattern, case_sensitive=True)
    return lambda text: compiled.search(text) is not None


def glob_test(pattern: str, *, case_sensitive: bool) -> Test:
    """Return whether a whole text matches a glob of Rust's globset.

    ``*`` is any run, also of ``/``; ``?`` is one character; ``[a-z]``, ``[!a-z]`` and
    ``{one,two}`` are as usual; a backslash takes away the meaning of what follows. Between
    slashes ``**`` is any number of path components, none included.

    Raises:
        RefusedError: ``GLOB_INVALID``.
    """
    expression = _glob_expression(pattern)
    compiled = _compile(f"(?s)\\A(?:{expression})\\z", case_sensitive=case_sensitive)
    return lambda text: compiled.search(text) is not None


def with_deadline(test: Test, clock: Monotonic = time.monotonic) -> Test:
    """Return ``test``, which gives up when it is still asked long after this call.

    It then raises ``SlowPatternsError``: texts times patterns have no other bound.
    """
    deadline_s = clock() + SECONDS_MAX

    def timed(text: str) -> bool:
        if clock() > deadline_s:
            raise SlowPatternsError(
                "PATTERNS_SLOW",
                f"💔 the patterns of one request can be matched for {SECONDS_MAX:.0f} seconds; "
                "use fewer of them, or a narrower filter",
            )
        return test(text)

    return timed


@dataclass(frozen=True, slots=True)
class Fuzziness:
    """From how many query characters on how many edits are forgiven, ascending."""

    thresholds: tuple[tuple[int, int], ...]
    case_sensitive: bool = True

    def distance_for(self, query: str) -> int | None:
        """Return the edits allowed; None when the query is too short to match anything."""
        allowed = [distance for chars_min, distance in self.thresholds if len(query) >= chars_min]
        return allowed[-1] if allowed else None


def fuzzy_test(query: str, fuzziness: Fuzziness) -> Test:
    """Return whether some part of a text is within the allowed edits of ``query``."""
    distance = fuzziness.distance_for(query)
    if distance is None:
        return lambda _text: False
    if fuzziness.case_sensitive:
        return lambda text: contains_within(text, query, distance)
    lowered = query.lower()
    return lambda text: contains_within(text.lower(), lowered, distance)


def contains_within(text: str, query: str, distance: int) -> bool:
    """Return whether a substring of ``text`` is at most ``distance`` edits from ``query``.

    Sellers 1980 by the bit vectors of Myers 1999: one pass over the text, each character a few
    operations on integers as wide as the query.
    """
    if query in text:
        return True
    if len(query) <= distance:
        return True
    # So many edits leave one of as many parts and one more untouched.
    if not any(part in text for part in _parts(query, distance + 1)):
        return False
    places: dict[str, int] = {}
    for index, character in enumerate(query):
        places[character] = places.get(character, 0) | (1 << index)
    full, last = (1 << len(query)) - 1, 1 << (len(query) - 1)
    up, down, score = full, 0, len(query)
    for character in text:
        matching = places.get(character, 0)
        diagonal = (((matching & up) + up) ^ up) | matching | down
        right_up = down | ~(diagonal | up)
        right_down = up & diagonal
        if right_up & last:
            score += 1
        elif right_down & last:
            score -= 1
            if score <= distance:
                return True
        # Shifted without a carried bit: a match may start anywhere in the text for free.
        right_up, right_down = right_up << 1, right_down << 1
        up = (right_down | ~(diagonal | right_up)) & full
        down = right_up & diagonal & full
    return False


def _parts(query: str, count: int) -> list[str]:
    bounds = [len(query) * number // count for number in range(count + 1)]
    return [query[start:end] for start, end in pairwise(bounds)]


def _compile(expression: str, *, case_sensitive: bool) -> Any:
    if len(expression) > PATTERN_LENGTH_MAX:
        raise RefusedError(
            "REGEX_INVALID", f"💔 patterns can be at most {PATTERN_LENGTH_MAX} characters long"
        )
    options = re2.Options()
    options.max_mem = PATTERN_MEMORY_BYTES_MAX
    options.case_sensitive = case_sensitive
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise RefusedError("REGEX_INVALID", f"💔 invalid regular expression: {reason}") from error


def _glob_expression(pattern: str) -> str:
    """Translate a glob to an RE2 expression."""
    parts: list[str] = []
    depth, index = 0, 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "[":
            expression, index = _glob_class(pattern, index)
            parts.append(expression)
        elif character == "\\":
            if index == len(pattern):
                raise _glob_error(pattern, "dangling '\\'")
            parts.append(re2.escape(pattern[index]))
            index += 1
        elif character in "{}" or (character == "," and depth):
            depth += {"{": 1, "}": -1, ",": 0}[character]
            if not 0 <= depth <= ALTERNATES_DEPTH_MAX:
                raise _glob_error(pattern, "alternates opened too deep or never")
            parts.append({"{": "(?:", "}": ")", ",": "|"}[character])
        elif pattern.startswith("**", index - 1):
            index = _translate_double_star(pattern, index + 1, parts, in_group=depth > 0)
        else:
            parts.append(_GLOB_WILDCARDS.get(character) or re2.escape(character))
    if depth:
        raise _glob_error(pattern, "unclosed alternate group; missing '}'")
    # A glob that is nothing but any path components has no file left to tell apart.
    return ".*" if parts == [_FOLDERS_FIRST] else "".join(parts)


def _translate_double_star(pattern: str, index: int, parts: list[str], *, in_group: bool) -> int:
    """Translate the ``**`` before ``index`` onto ``parts``; return the index after it."""
    following = pattern[index : index + 1]
    is_last = not following or (in_group and following in ",}")
    if not parts or parts[-1] in _GROUP_STARTS:
        parts.append(_FOLDERS_FIRST if following == "/" else ".*")
    elif pattern[index - 3] == "/" and (is_last or following == "/"):
        # It takes the slash before it along: no component means no slash either.
        if parts[-1] != _FOLDERS_FIRST:
            parts[-1] = _ALL_BELOW if is_last else _FOLDERS_BETWEEN
    else:
        parts.append(".*")
        return index
    return index + 1 if following == "/" else index


def _glob_class(pattern: str, index: int) -> tuple[str, int]:
    """Translate a class whose ``[`` is before ``index``; return it and the index after it."""
    negated = pattern[index : index + 1] in ("!", "^")
    start = index + negated
    # A bracket right at the start stands for itself.
    end = pattern.find("]", start + 1)
    if end < 0:
        raise _glob_error(pattern, "unclosed character class; missing ']'")
    ranges: list[str] = []
    position = start
    while position < end:
        low = pattern[position]
        if position + 2 < end and pattern[position + 1] == "-":
            high = pattern[position + 2]
            if high < low:
                raise _glob_error(pattern, f"invalid range; '{low}' > '{high}'")
            ranges.append(f"{_class_escape(low)}-{_class_escape(high)}")
            position += 3
        else:
            ranges.append(_class_escape(low))
            position += 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]", end + 1


def _class_escape(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"


def _glob_error(pattern: str, problem: str) -> RefusedError:
    return RefusedError("GLOB_INVALID", f"💔 error parsing glob '{pattern[:200]}': {problem}")
