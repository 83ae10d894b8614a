"""Filters evaluated over cached rows by the store's own rules, or not at all.

Where a row is served from must not change the answer. So a filter is compiled against the types
of the namespace's schema, and whatever the store might see differently is *unsupported*: the
caller asks the store instead. What is supported follows the contract's null rules: a missing
value and null are the same, sort lowest (``Lt`` and ``Lte`` match them) and are matched by the
negative operators, which are plain inverses. ``1`` equals ``1.0``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import and_, attrgetter, ge, gt, le, lt, not_, or_
from typing import Any, Final

import msgspec

from layer_kit.errors import UnsupportedError
from layer_wire.filters import Filter
from layer_wire.ids import IdKind

FILTER_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 32
PARTS_MAX: Final = 256
"""Conditions and what joins them; each is a pass over all rows. ``In`` has many values in one."""

ID: Final = "id"
ROW_ID: Final = "row_id"
"""The field that a row's id is put in; no body has an attribute of the name ``id``."""

_ARRAY: Final = "[]"
_DECODED_AS: Final[Mapping[str, Any]] = {
    "string": str,
    "int": int | float,  # a writer may spell 3 as 3.0
    "uint": int | float,
    "float": float,
    "bool": bool,
    "uuid": str,
}
"""What the JSON of a value may be, by the element type of its attribute. Other types, such as
`datetime`, have more than one spelling for one value."""

_ID_KINDS: Final[Mapping[str, bytes]] = {
    "string": IdKind.STRING.encode(),
    "uint": IdKind.UNSIGNED.encode(),
    "int": IdKind.UNSIGNED.encode(),
    "uuid": IdKind.UUID.encode(),
}
_ORDERS: Final[Mapping[str, tuple[Callable[[Any, Any], bool], bool]]] = {
    "Lt": (lt, True),
    "Lte": (le, True),
    "Gt": (gt, False),
    "Gte": (ge, False),
}
"""What each asks of a value and the operand, and whether null, which sorts lowest, matches."""

_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "int": (-(2**63), 2**63 - 1),
    "uint": (0, 2**64 - 1),
    "float": (-sys.float_info.max, sys.float_info.max),
}
_ORDERED: Final = frozenset({"string", "int", "uint", "float"})
_INVERSE_OF: Final[Mapping[str, str]] = {"NotEq": "Eq", "NotIn": "In"}
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNNAMEABLE: Final = re.compile(r'["\\\0-\x1f]')
"""What msgspec takes in no field's name."""

_Read = Callable[[Any], Any]
_Test = Callable[[Sequence[Any]], list[bool]]
"""Takes the decoded attributes of many rows, the ids among them where they are needed, and tells
of each row whether it matches. A call for each row would take longer than all the rest."""


class RowFilter:
    """A compiled filter. Only the attributes that it names are decoded."""

    def __init__(
        self, test: _Test, decoder: msgspec.json.Decoder[Any], id_kind: bytes, parts_count: int
    ) -> None:
        self.parts_count = parts_count
        """What it costs to evaluate, in proportion."""

        self._test = test
        self._decode = decoder.decode
        self._id_kind = id_kind

    def matches(
        self, keys: Sequence[bytes], bodies: Iterable[bytes], *, id_starts_at: int = 0
    ) -> list[bool]:
        """Tell of each row whether it matches.

        Args:
            keys: Each ends in the id of a row in canonical form.
            bodies: Attributes of each row as a JSON object.
            id_starts_at: Where in a key the id begins.

        Raises:
            UnsupportedError: ``FILTER_UNSUPPORTED``, when a row is not as the types say.
        """
        try:
            decoded = list(map(self._decode, bodies))
            if self._id_kind:
                for one, key in zip(decoded, keys, strict=True):
                    one.row_id = self._id(key[id_starts_at:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unsupported("a row is not of the types given") from error
        return self._test(decoded)

    def _id(self, row_id: bytes) -> str | int:
        if row_id[:1] != self._id_kind:
            raise unsupported("a row's id is not of the type given")
        text = row_id[1:].decode()
        return int(text) if self._id_kind == _ID_KINDS["uint"] else text


def compile_filter(filter_: Filter | bytes, types: Mapping[str, str]) -> RowFilter:
    """Make a filter ready to evaluate.

    Args:
        filter_: As JSON text, of the shape that the contract has.
        types: The types of the attributes that rows may be filtered by, as the schema spells
            them, ``id`` among them. An attribute without one is unsupported.

    Raises:
        UnsupportedError: ``FILTER_UNSUPPORTED``, also for what is no filter: the store says best
            what is wrong with it.
    """
    text = bytes(filter_)
    if len(text) > FILTER_BYTES_MAX:
        raise unsupported(f"it has more than {FILTER_BYTES_MAX} bytes")
    try:
        parsed = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unsupported("it is not JSON") from error
    return _Compiler(types).compile(parsed)


def unsupported(why: str) -> UnsupportedError:
    """Return the error that sends the caller to the store."""
    return UnsupportedError(
        "FILTER_UNSUPPORTED", f"The filter cannot be evaluated over cached rows: {why}.", why=why
    )


class _Compiler:
    """Compiles one filter, and learns which attributes it needs."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = types
        self._fields: dict[str, str] = {}
        self._needs_id = False
        self._parts_count = 0

    def compile(self, parsed: object) -> RowFilter:
        test = self._test(parsed, 0)
        fields = {name: field for name, field in self._fields.items() if name != ID}
        attributes = msgspec.defstruct(
            "Attributes",
            [
                (ROW_ID, Any, None),
                *(
                    (field, _decoded_as(self._types[name]) | None, None)
                    for name, field in fields.items()
                ),
            ],
            rename={ROW_ID: ID} | {field: name for name, field in fields.items()},
            gc=False,
        )
        id_kind = _ID_KINDS[self._types[ID]] if self._needs_id else b""
        return RowFilter(test, msgspec.json.Decoder(attributes), id_kind, self._parts_count)

    def _test(self, node: object, depth: int) -> _Test:
        if depth > DEPTH_MAX:
            raise unsupported("it is nested too deeply")
        self._parts_count += 1
        if self._parts_count > PARTS_MAX:
            raise unsupported(f"it has more than {PARTS_MAX} parts")
        match node:
            case ["And", [_, *_] as children]:
                return _joined(and_, [self._test(child, depth + 1) for child in children])
            case ["Or", [_, *_] as children]:
                return _joined(or_, [self._test(child, depth + 1) for child in children])
            case ["Not", child]:
                return _inverse(self._test(child, depth + 1))
            case [str(name), str(operator), operand]:
                return self._condition(name, operator, operand)
            case _:
                raise unsupported("it has a part that is none of those known here")

    def _condition(self, name: str, operator: str, operand: object) -> _Test:
        if operator in _INVERSE_OF:
            return _inverse(self._condition(name, _INVERSE_OF[operator], operand))
        type_ = self._types.get(name, "")
        if type_.removeprefix(_ARRAY) not in _DECODED_AS or _UNNAMEABLE.search(name):
            raise unsupported(f"attribute {name!r} of type {type_!r}")
        return _value_test(operator, type_, operand, self._reader(name, type_))

    def _reader(self, name: str, type_: str) -> _Read:
        """Return what takes the value of an attribute, None where it is missing, from a row."""
        if name == ID:
            if type_ not in _ID_KINDS:
                raise unsupported(f"ids of type {type_!r}")
            self._needs_id = True
            return attrgetter(ROW_ID)
        return attrgetter(self._fields.setdefault(name, f"f{len(self._fields)}"))


def _decoded_as(type_: str) -> Any:
    element = _DECODED_AS[type_.removeprefix(_ARRAY)]
    return list.__class_getitem__(element) if type_.startswith(_ARRAY) else element


def _value_test(operator: str, type_: str, operand: object, read: _Read) -> _Test:
    """Return what a positive operator asks of a row."""
    if operator in _ORDERS:
        return _order(operator, type_, operand, read)
    if type_.startswith(_ARRAY):
        return _array_test(operator, type_.removeprefix(_ARRAY), operand, read)
    match operator, operand:
        case "Eq", _:
            members = frozenset({None if operand is None else _converted(operand, type_)})
        case "In", [*items]:
            members = frozenset(None if item is None else _converted(item, type_) for item in items)
        case _:
            raise unsupported(f"operator {operator!r} with such an operand")
    return lambda rows: list(map(members.__contains__, map(read, rows)))


def _array_test(operator: str, element: str, operand: object, read: _Read) -> _Test:
    match operator, operand:
        case "Eq", None:
            return lambda rows: [value is None for value in map(read, rows)]
        case "Eq", [_, *_]:
            wanted = [_converted(item, element) for item in operand]
            return lambda rows: [value == wanted for value in map(read, rows)]
        case "In", [*items]:
            members = frozenset(_converted(item, element) for item in items)
            return lambda rows: [not members.isdisjoint(value or ()) for value in map(read, rows)]
        case _:
            raise unsupported(f"operator {operator!r} with such an operand on an array")


def _order(operator: str, type_: str, operand: object, read: _Read) -> _Test:
    if type_ not in _ORDERED:
        raise unsupported(f"an order of {type_!r}")
    bound: Any = _converted(operand, type_)
    compare, is_null_kept = _ORDERS[operator]

    def test(rows: Sequence[Any]) -> list[bool]:
        values = list(map(read, rows))
        try:
            # Python orders strings by code point, which is the order of their UTF-8 bytes.
            return list(map(compare, values, repeat(bound)))
        except TypeError:  # there are nulls among them
            return [is_null_kept if value is None else compare(value, bound) for value in values]

    return test


def _converted(operand: object, type_: str) -> object:
    """Return an operand as values of ``type_`` are decoded; refuse what the store may refuse."""
    match type_, operand:
        case "string", str():
            return operand
        case "uuid", str() if _UUID.fullmatch(operand):
            return operand
        case "bool", bool():
            return operand
        case (("int" | "uint" | "float"), (int() | float())) if not isinstance(operand, bool):
            low, high = _RANGES[type_]
            if low <= operand <= high and type_ == "float":
                return float(operand)
            if low <= operand <= high and operand == int(operand):
                return int(operand)
        case _:
            pass
    raise unsupported(f"an operand that is no {type_!r}")


def _joined(operator: Callable[[bool, bool], bool], tests: Sequence[_Test]) -> _Test:
    first, *others = tests

    def test(rows: Sequence[Any]) -> list[bool]:
        found = first(rows)
        for other in others:
            found = list(map(operator, found, other(rows)))
        return found

    return test


def _inverse(test: _Test) -> _Test:
    return lambda rows: list(map(not_, test(rows)))
