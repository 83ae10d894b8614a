"""Dense vectors: decoding from JSON, distances, and the shortest decimal of a 32-bit float."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.attribute_types import AttributeType, Element
from layer_vectorstore.domain.values import ValueMismatchError

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]

F16_MAX: Final = 65504.0
I8_MIN, I8_MAX = -128, 127


class Metric(StrEnum):
    COSINE = "cosine_distance"
    EUCLIDEAN = "euclidean_squared"


def decode_vector(value: object) -> Float32s:
    """Return the components of a JSON number array or a base64 string of little-endian f32.

    Raises:
        ValueMismatchError: When it is neither, or a component is not finite.
    """
    if isinstance(value, str):
        return decode_base64(value)
    if not isinstance(value, list):
        raise ValueMismatchError
    if any(type(item) not in (int, float) for item in value):
        raise ValueMismatchError
    try:
        with np.errstate(over="ignore"):
            return _finite(np.array(value, dtype=np.float64).astype(np.float32))
    except (OverflowError, ValueError, TypeError) as error:
        raise ValueMismatchError from error


def decode_base64(text: str) -> Float32s:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueMismatchError from error
    if len(data) % 4:
        raise ValueMismatchError
    return _finite(np.frombuffer(data, dtype="<f4").astype(np.float32))


def decode_matrix(value: object, dimensions: int) -> Float32s:
    """Return a late-interaction value: float32 ``(tokens, dimensions)``, at least one token."""
    if not isinstance(value, list) or not value:
        raise ValueMismatchError
    rows = [decode_vector(item) for item in value]
    if any(len(row) != dimensions for row in rows):
        raise ValueMismatchError
    return np.stack(rows)


def encode_base64(vector: Float32s) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def rounded(vectors: Float32s, attribute_type: AttributeType) -> Float32s:
    """Return the values that a column of this precision keeps, still as float32.

    Raises:
        ValueMismatchError: When a component is out of the precision's range.
    """
    match attribute_type.element:
        case Element.F16:
            if vectors.size and float(np.abs(vectors).max()) > F16_MAX:
                raise ValueMismatchError
            return vectors.astype(np.float16).astype(np.float32)
        case Element.I8:
            if vectors.size and not ((vectors >= I8_MIN) & (vectors <= I8_MAX)).all():
                raise ValueMismatchError
            return np.rint(vectors)
        case _:
            return vectors


def distances(vectors: Float32s, query: Float32s, metric: Metric) -> Float32s:
    """Return the exact distance of each row to ``query``.

    Every row is computed in 64 bits by the same instructions whatever its place, so equal
    vectors have equal distances and ties are broken by id alone.

    Args:
        vectors: float32 ``(rows, dimensions)``.
        query: float32 ``(dimensions,)``.
        metric: A zero vector has cosine distance 1 to everything.
    """
    wide, target = vectors.astype(np.float64), query.astype(np.float64)
    with np.errstate(over="ignore"):
        if metric is Metric.EUCLIDEAN:
            difference = wide - target
            squares = np.einsum("ij,ij->i", difference, difference)
            finite: Float32s = np.minimum(squares, np.finfo(np.float32).max).astype(np.float32)
            return finite
    dots = np.einsum("ij,j->i", wide, target)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide) * np.dot(target, target))
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    # Rounded before the subtraction: a vector is at distance 0 of itself, not of 1e-16.
    apart: Float32s = 1 - np.clip(cosines, -1, 1).astype(np.float32)
    return apart


def shortest(values: NDArray[np.floating]) -> Float64s:
    """Return for each float32 the float64 whose decimal form is the float32's shortest one.

    JSON writers print a float64 with the digits that identify a float64; ``float32(0.7)`` would
    show as 0.699999988079071. A decimal of at most nine digits identifies any float32, so the
    first count of digits that leads back to the same float32 is the shortest.
    """
    narrow = np.asarray(values, dtype=np.float32)
    wide = narrow.astype(np.float64)
    result = wide.copy()
    magnitude = np.abs(wide)
    # Outside this range the power of ten is not exact in 64 bits; such values are rare.
    regular = (magnitude >= _REGULAR_MIN) & (magnitude < _REGULAR_MAX)
    slots = np.flatnonzero(regular)
    numbers = wide.flat[slots]
    exponents = np.floor(np.log10(magnitude.flat[slots])).astype(np.int64)
    # Components of embeddings need seven digits and more, so the shorter ones are tried only
    # where six are enough. Around powers of two more digits may be further off than fewer.
    few = _identified(_with_digits(numbers, exponents, 6), numbers) | _are_powers_of_two(numbers)
    for chosen, digits_min in ((few, 1), (~few, 7)):
        pending = np.flatnonzero(chosen)
        for digits in range(digits_min, 10):
            candidates = _with_digits(numbers[pending], exponents[pending], digits)
            done = _identified(candidates, numbers[pending])
            result.flat[slots[pending[done]]] = candidates[done]
            pending = pending[~done]
            if not pending.size:
                break
    for index in np.flatnonzero(~regular & (magnitude > 0)):
        result.flat[index] = float(str(narrow.flat[index]))
    return result


_REGULAR_MIN: Final = 1e-12
_REGULAR_MAX: Final = 1e15
_POWERS_OF_TEN: Final = 10.0 ** np.arange(23)
"""Those that 64 bits hold exactly."""


def _with_digits(numbers: Float64s, exponents: NDArray[np.int64], digits: int) -> Float64s:
    """Round to that many significant digits; the result is the float64 nearest to the decimal."""
    places = digits - 1 - exponents
    scale = _POWERS_OF_TEN[np.abs(places)]
    rounded_numbers: Float64s = np.rint(numbers * scale) / scale
    large = places < 0
    if large.any():
        rounded_numbers[large] = np.rint(numbers[large] / scale[large]) * scale[large]
    return rounded_numbers


def _are_powers_of_two(numbers: Float64s) -> NDArray[np.bool_]:
    mantissas, _ = np.frexp(np.abs(numbers))
    return np.equal(mantissas, 0.5)


def _identified(candidates: Float64s, numbers: Float64s) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = candidates.astype(np.float32) == numbers.astype(np.float32)
    return same


def _finite(vector: Float32s) -> Float32s:
    if not np.isfinite(vector).all():
        raise ValueMismatchError
    return vector
