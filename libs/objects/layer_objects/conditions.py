"""The two ways in which a conditional put is refused."""

from __future__ import annotations

from layer_kit.errors import NotFoundError, PreconditionError


def object_exists(key: str) -> PreconditionError:
    return PreconditionError("OBJECT_EXISTS", f"The object {key!r} exists already.", key=key)


def object_changed(key: str) -> PreconditionError:
    return PreconditionError(
        "OBJECT_CHANGED",
        f"The object {key!r} is not the one that was read; read it again.",
        key=key,
    )


def object_not_found(key: str) -> NotFoundError:
    return NotFoundError("OBJECT_NOT_FOUND", f"There is no object {key!r}.", key=key)
