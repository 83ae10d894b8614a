"""Where everything is in the object store."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_snapshots.domain.content import SHORT_SHA_LENGTH

SNAPSHOTS: Final = "snapshots"
PARTIALS: Final = "snapshot-partials"
STATES: Final = "snapshot-states"
POLICIES: Final = "snapshot-policies"
CHECKPOINTS: Final = "checkpoints"
RUNNING_JOBS: Final = "jobs/snapshot/running"
ENDED_JOBS: Final = "jobs/snapshot/ended"

WATERMARK_MS_MAX: Final = 10**13 - 1
"""13 digits, until the year 2286; more would end the order of keys."""

_FILE: Final = re.compile(r"([0-9]{13})-([0-9a-f]{7})\.json")
_POLICY: Final = re.compile(rf"{POLICIES}/[A-Za-z0-9\-_.]{{1,128}}\.json")
_SHA: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{7}")


class SnapshotName(NamedTuple):
    """What the key of a snapshot tells. Names of one namespace are ordered as their keys are."""

    watermark_ms: int
    short_sha: str

    @property
    def file(self) -> str:
        return f"{self.watermark_ms:013}-{self.short_sha}.json"


def folder(place: str, namespace: Namespace) -> str:
    """Return the prefix of everything that a namespace has in ``place``."""
    return f"{place}/{namespace}/"


def snapshot_key(namespace: Namespace, name: SnapshotName) -> str:
    return folder(SNAPSHOTS, namespace) + name.file


def partial_key(namespace: Namespace, name: SnapshotName) -> str:
    """Return the key of the mark that a snapshot is not one of all facet fields."""
    return folder(PARTIALS, namespace) + name.file


def checkpoint_key(namespace: Namespace, label: str) -> str:
    return f"{folder(CHECKPOINTS, namespace)}{label}.json"


def policy_key(namespace: Namespace) -> str:
    return f"{POLICIES}/{namespace}.json"


def state_key(namespace: Namespace) -> str:
    return f"{STATES}/{namespace}.json"


def job_file(created_ms: int, job_id: str) -> str:
    return f"{created_ms:013}-{job_id}.json"


def snapshot_name(key: str) -> SnapshotName | None:
    """Read the key of a snapshot, or of its mark; None for what is not ours."""
    found = _FILE.fullmatch(key.rpartition("/")[2])
    return SnapshotName(int(found[1]), found[2]) if found else None


def namespace_in(place: str, key: str) -> Namespace:
    """Return the namespace in whose folder of ``place`` a key is."""
    return Namespace(key.removeprefix(f"{place}/").partition("/")[0])


def is_policy_key(key: str) -> bool:
    """Tell whether a key among the policies is one of ours."""
    return _POLICY.fullmatch(key) is not None


def namespace_of_policy(key: str) -> Namespace:
    return Namespace(key.removeprefix(f"{POLICIES}/").removesuffix(".json"))


def name_of(watermark_ms: int, sha: str) -> SnapshotName:
    return SnapshotName(watermark_ms, sha[:SHORT_SHA_LENGTH])


def parse_sha(text: str) -> str:
    """Check what names a snapshot: all 64 or the first 7 hexadecimal digits of its SHA-256.

    Raises:
        InvalidRequestError: ``SHA_INVALID``.
    """
    lowered = text.lower()
    if _SHA.fullmatch(lowered) is None:
        raise InvalidRequestError(
            "SHA_INVALID", f"{text[:64]!r} is not 64 or 7 hexadecimal digits.", field="sha"
        )
    return lowered
