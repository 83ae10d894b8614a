"""What the gRPC edges check alike."""

from __future__ import annotations

from collections.abc import Sequence

from layer_kit.errors import InvalidRequestError


def check_columns(**columns: Sequence[object]) -> None:
    """Check that columns which belong together have the same length.

    Raises:
        InvalidRequestError: ``COLUMNS_DIFFER``.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InvalidRequestError(
            "COLUMNS_DIFFER", f"These must have the same length: {shown}.", **lengths
        )
