"""Functions over HTTP: the bodies of `/v2/udfs` (docs/reference/http.md, "Functions").

What can be left out can be null as well. Numbers are bounded here, so that a refusal names the
field; what only the runtime knows is checked there.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from layer_wire.jsontext import ABSENT, Raw

PAGE_SIZE_DEFAULT: Final = 10_000
CLAIM_LIMIT_DEFAULT: Final = 32
ITEMS_COUNT_MAX: Final = 1000
MATCH_LABELS: Final = "matchLabels"
MATCH_EXPRESSIONS: Final = "matchExpressions"
SCHEDULE: Final = "schedule"

Seconds = Annotated[int, msgspec.Meta(ge=1, le=31_536_000)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
WorkerId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
LeaseToken = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Trigger = Literal["discovery", "write", "schedule"]
Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
Receipt = Annotated[str, msgspec.Meta(max_length=128)]
Kind = Literal["transient", "permanent", "released"]


class UdfWorker(msgspec.Struct, forbid_unknown_fields=True):
    """How the workers of a function are run."""

    image: str | None = None
    url: str | None = None
    port: Port | None = None
    batch_size: Count | None = None
    timeout_seconds: Seconds | None = None
    pod_spec: Raw = ABSENT


class UdfSchedule(msgspec.Struct, forbid_unknown_fields=True):
    """When and how much a function works."""

    discovery_interval_seconds: Seconds | None = None
    lease_seconds: Seconds | None = None
    max_in_flight_batches: Count | None = None
    max_concurrent_scans: Count | None = None
    cron: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class UdfRetry(msgspec.Struct, forbid_unknown_fields=True):
    """How failed items are tried again."""

    max_attempts: Count | None = None
    initial_backoff_seconds: Seconds | None = None
    max_backoff_seconds: Seconds | None = None


class LabelRequirement(msgspec.Struct, forbid_unknown_fields=True):
    """What a label has to be."""

    key: str
    operator: Operator
    values: list[str] | None = None


class IndexSelector(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which indexes are meant, by their labels."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelRequirement] | None = None


class CandidateRole(msgspec.Struct, forbid_unknown_fields=True):
    """Whose candidate a function is, and what that writes."""

    of: str
    outputs: Annotated[list[str], msgspec.Meta(min_length=1, max_length=128)]


class UdfSpec(msgspec.Struct, forbid_unknown_fields=True):
    """What a function does, to which rows, and when."""

    worker: UdfWorker
    index_selector: IndexSelector | None = None
    target_namespaces: list[str] | None = None
    inputs: list[str] | None = None
    version: str | None = None
    filter: Raw = ABSENT
    schedule: UdfSchedule | None = None
    retry: UdfRetry | None = None
    triggers: list[Trigger] | None = None
    invalidates: list[str] | None = None
    queries_per_item: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    group_by_parent: bool | None = None
    candidate: CandidateRole | None = None


class CreateUdf(msgspec.Struct):
    """A function to register."""

    id: str
    spec: UdfSpec
    paused: bool | None = None


class UpdateUdf(msgspec.Struct):
    """A function to replace or to register."""

    spec: UdfSpec


class Pause(msgspec.Struct):
    """Why a function is stopped."""

    reason: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class Discover(msgspec.Struct):
    """A sweep: of everything, or from where an earlier one ended."""

    namespaces: list[str] | None = None
    page_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    max_pages: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    cursor: str | None = None


class Claim(msgspec.Struct):
    """Items that a worker wants."""

    worker_id: WorkerId
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    lease_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] | None = None


class ItemRef(msgspec.Struct):
    """Names a row that a function processes."""

    namespace: Name
    id: Name
    lease_token: LeaseToken | None = None
    prepared_receipt: Receipt | None = None


class CompletedItem(ItemRef):
    """The result of an item."""

    vector: Raw = ABSENT
    vectors: Raw = ABSENT
    attributes: dict[str, Raw] | None = None
    input_revision: Receipt | None = None


class FailedItem(ItemRef, kw_only=True):
    """An item that could not be processed."""

    kind: Kind
    message: str | None = None


class Heartbeat(msgspec.Struct):
    """Items that a worker still works on."""

    worker_id: WorkerId
    items: Annotated[list[ItemRef], msgspec.Meta(max_length=ITEMS_COUNT_MAX)]


class Complete(msgspec.Struct):
    """Results of items."""

    worker_id: WorkerId
    items: Annotated[list[CompletedItem], msgspec.Meta(max_length=ITEMS_COUNT_MAX)]
    report_dispositions: bool | None = None


class Lookup(msgspec.Struct):
    """Items that somebody asks after."""

    items: Annotated[list[ItemRef], msgspec.Meta(max_length=ITEMS_COUNT_MAX)]


class Fail(msgspec.Struct):
    """Failures of items."""

    worker_id: WorkerId
    items: Annotated[list[FailedItem], msgspec.Meta(max_length=ITEMS_COUNT_MAX)]


class CreateCandidate(msgspec.Struct, forbid_unknown_fields=True):
    """Another version of a function, to be tried."""

    version: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    outputs: Annotated[list[str], msgspec.Meta(min_length=1, max_length=128)]
    inputs: list[str] | None = None
    filter: Raw = ABSENT
    worker: UdfWorker | None = None
    target_namespaces: list[str] | None = None


class PromoteCandidate(msgspec.Struct, forbid_unknown_fields=True):
    """A candidate that takes the place of its function."""

    allow_partial: bool | None = None
    namespaces: list[str] | None = None


class Compare(msgspec.Struct, frozen=True):
    """What a comparison of a candidate looks at."""

    namespace: str
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    sample: Annotated[int, msgspec.Meta(ge=0, le=100)] = 10
