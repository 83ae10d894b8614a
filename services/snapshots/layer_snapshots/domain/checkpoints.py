"""Checkpoints: snapshots with a name, which retention respects."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_snapshots.domain.keys import SnapshotName, name_of

_LABEL: Final = re.compile(r"[A-Za-z0-9\-_.]{1,128}")


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as it is stored and as the contract has it."""

    namespace: str
    label: str
    watermark_ms: int
    sha: str
    row_count: int

    @property
    def snapshot(self) -> SnapshotName:
        return name_of(self.watermark_ms, self.sha)


def parse_label(text: str) -> str:
    """Check a label: 1 to 128 of ``[A-Za-z0-9-_.]``.

    Raises:
        InvalidRequestError: ``LABEL_INVALID``.
    """
    if _LABEL.fullmatch(text) is None:
        raise InvalidRequestError(
            "LABEL_INVALID",
            f"The label {text[:128]!r} is not 1 to 128 characters of [A-Za-z0-9-_.].",
            field="label",
        )
    return text
