"""Document ids: unsigned 64-bit integers, short strings or UUIDs, one kind per namespace."""

from __future__ import annotations

from layer_vectorstore.domain.attribute_types import STRING, UINT, UUID, AttributeType
from layer_vectorstore.domain.errors import RefusedError, malformed
from layer_vectorstore.domain.limits import ID_BYTES_MAX
from layer_vectorstore.domain.values import UINT_MAX, ValueMismatchError, parse_uuid

DocumentId = int | str


def check_id(value: object, path: str, expectation: str) -> DocumentId:
    """Accept the JSON forms of an id, whatever the namespace's kind.

    Args:
        value: From the body.
        path: Where it stood, for the error.
        expectation: The contract's name of what was expected there: ``Id`` or ``IdVec``.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= UINT_MAX:
        return value
    if isinstance(value, str):
        return value
    raise malformed(path, f"data did not match any variant of untagged enum {expectation}")


def id_type_of(value: DocumentId) -> AttributeType:
    """Return the kind that the first id of a namespace sets, if its schema does not."""
    return UINT if isinstance(value, int) else STRING


def stored_ids(values: list[DocumentId], id_type: AttributeType) -> list[DocumentId]:
    """Return the ids as this namespace keeps them.

    Raises:
        RefusedError: ``ID_TYPE_MISMATCH``, ``ID_INVALID`` or ``ID_TOO_LONG``.
    """
    if id_type == UUID:
        return [_uuid(value) for value in values]
    wanted: type = int if id_type == UINT else str
    for value in values:
        if not isinstance(value, wanted):
            sent = "uint" if isinstance(value, int) else "string"
            raise RefusedError(
                "ID_TYPE_MISMATCH",
                f"💔 namespace ID type is {id_type}, but you sent {sent}; "
                "you are not allowed to mix ID types in the same namespace",
            )
        if isinstance(value, str) and len(value.encode()) > ID_BYTES_MAX:
            raise RefusedError(
                "ID_TOO_LONG", f"💔 string IDs must be at most {ID_BYTES_MAX} bytes long"
            )
    return values


def _uuid(value: DocumentId) -> DocumentId:
    try:
        return parse_uuid(value)
    except ValueMismatchError as error:
        raise RefusedError(
            "ID_INVALID",
            "💔 namespace ID type is uuid, but a written ID could not be parsed as uuid",
        ) from error
