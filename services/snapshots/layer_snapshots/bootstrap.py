"""The composition root: the only module that names the concrete gateway, cache and object store."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from layer.cache.v1 import cache_pb2_grpc
from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace
from layer_kit.process import Addresses
from layer_kit.rpc.client import open_channel
from layer_kit.service import ServiceFrame, service_frame
from layer_objects import ObjectStore, open_object_store
from layer_snapshots.adapters.cache_mirror import CacheMirror, NoMirror
from layer_snapshots.adapters.gateway_rows import GatewayRows, NoRows
from layer_snapshots.application.activity import Activity
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.catalogue import Catalogue
from layer_snapshots.application.checkpoints import Checkpoints
from layer_snapshots.application.count_field import CountField
from layer_snapshots.application.counting_jobs import CountingJobs
from layer_snapshots.application.jobs import Jobs
from layer_snapshots.application.latest import Latest
from layer_snapshots.application.policies import Policies
from layer_snapshots.application.purging import Purge
from layer_snapshots.application.retention import Retention
from layer_snapshots.application.states import States
from layer_snapshots.application.taking import Observer, Taking
from layer_snapshots.domain.policy import Policy, check_policy
from layer_snapshots.metrics import SnapshotMetrics
from layer_snapshots.ports import Mirror, Rows
from layer_snapshots.rpc.rendered import RenderedSnapshots
from layer_snapshots.rpc.servicer import SnapshotsServicer
from layer_snapshots.settings import SnapshotsSettings

SERVICES: Final = tuple(snapshots_pb2.DESCRIPTOR.services_by_name.values())
OBJECTS_DIRECTORY: Final = Path(".layer/snapshots")
TURN_INTERVAL_S: Final = 0.25
RENEWALS_PER_LEASE: Final = 5

_FACET_FIELDS: Final[msgspec.json.Decoder[dict[str, tuple[str, ...]]]] = msgspec.json.Decoder(
    dict[str, tuple[str, ...]]
)


@asynccontextmanager
async def serving(settings: SnapshotsSettings) -> AsyncIterator[Addresses]:
    """Run the service for the length of the block; yield what it listens on.

    Raises:
        ConfigurationError: When the object store, an address or ``LAYER_FACET_FIELDS`` is unusable.
    """
    async with service_frame(settings) as frame:
        parts = _build(settings, frame)
        frame.resources.push_async_callback(parts.latest.aclose)
        frame.resources.push_async_callback(parts.counting_jobs.aclose)
        frame.resources.push_async_callback(parts.taking.aclose)
        frame.resources.push_async_callback(frame.loops.stop)
        frame.loops.every(settings.facet_refresh_ms / 1000, parts.policies.refresh, name="policies")
        frame.loops.every(TURN_INTERVAL_S, parts.taking.turn, name="snapshots")
        frame.loops.every(settings.lease_ms / 3000, parts.counting_jobs.adopt, name="jobs")
        frame.loops.every(settings.retention_interval_s, parts.retention.keep_up, name="retention")
        servicer = parts.servicer(settings.cache_bytes // 4)
        await frame.serve_grpc(
            settings.grpc_address,
            SERVICES,
            lambda server: snapshots_pb2_grpc.add_SnapshotsServiceServicer_to_server(
                servicer, server
            ),
        )
        frame.started()
        yield frame.addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    objects: ObjectStore
    policies: Policies
    states: States
    catalogue: Catalogue
    bodies: Bodies
    latest: Latest
    checkpoints: Checkpoints
    jobs: Jobs
    counting_jobs: CountingJobs
    taking: Taking
    retention: Retention

    def servicer(self, cache_bytes: int) -> SnapshotsServicer:
        return SnapshotsServicer(
            rendered=RenderedSnapshots(cache_bytes),
            taking=self.taking,
            counting_jobs=self.counting_jobs,
            jobs=self.jobs,
            catalogue=self.catalogue,
            bodies=self.bodies,
            latest=self.latest,
            checkpoints=self.checkpoints,
            activity=Activity(catalogue=self.catalogue),
            policies=self.policies,
            purge=Purge(
                objects=self.objects,
                taking=self.taking,
                jobs=self.jobs,
                states=self.states,
                bodies=self.bodies,
                checkpoints=self.checkpoints,
                latest=self.latest,
            ),
        )


def _build(settings: SnapshotsSettings, frame: ServiceFrame) -> _Parts:
    objects = _open_objects(settings, frame)
    metrics = SnapshotMetrics(frame.registry)
    rows = _open_rows(settings, frame, metrics)
    owner = uuid.uuid4().hex
    policies = Policies(objects=objects, declared=_declared(settings))
    states = States(
        objects=objects, owner=owner, lease_ms=settings.lease_ms, now_ms=epoch_milliseconds
    )
    catalogue = Catalogue(objects=objects, now_ms=epoch_milliseconds)
    bodies = Bodies(objects=objects, catalogue=catalogue, cache_bytes=settings.cache_bytes // 4)
    latest = Latest(
        bodies=bodies,
        catalogue=catalogue,
        states=states,
        policies=policies,
        mirror=_open_mirror(settings, frame, metrics),
        monotonic=monotonic,
        cache_bytes=settings.cache_bytes // 2,
    )
    checkpoints = Checkpoints(objects=objects, catalogue=catalogue, latest=latest)
    jobs = Jobs(
        objects=objects, owner=owner, abandoned_ms=settings.lease_ms, now_ms=epoch_milliseconds
    )
    retention = Retention(
        objects=objects,
        policies=policies,
        catalogue=catalogue,
        checkpoints=checkpoints,
        bodies=bodies,
        states=states,
        now_ms=epoch_milliseconds,
        pruned=metrics.pruned,
    )
    taking = Taking(
        rows=rows,
        policies=policies,
        states=states,
        bodies=bodies,
        latest=latest,
        retention=retention,
        now_ms=epoch_milliseconds,
        observer=Observer(ended=metrics.attempted, skipped=metrics.skipped),
    )
    metrics.watch(lambda: taking.waiting_count)
    counting_jobs = CountingJobs(
        jobs=jobs,
        rows=rows,
        count_field=CountField(rows=rows, bodies=bodies, latest=latest, now_ms=epoch_milliseconds),
        now_ms=epoch_milliseconds,
        ended=metrics.job_ended,
        keep_interval_s=settings.lease_ms / RENEWALS_PER_LEASE / 1000,
    )
    return _Parts(
        objects=objects,
        policies=policies,
        states=states,
        catalogue=catalogue,
        bodies=bodies,
        latest=latest,
        checkpoints=checkpoints,
        jobs=jobs,
        counting_jobs=counting_jobs,
        taking=taking,
        retention=retention,
    )


def _open_objects(settings: SnapshotsSettings, frame: ServiceFrame) -> ObjectStore:
    objects = settings.open_objects(frame.registry)
    if objects is None:
        folder = OBJECTS_DIRECTORY.absolute()
        objects = open_object_store(folder.as_uri(), registry=frame.registry)
    frame.resources.push_async_callback(objects.aclose)
    return objects


def _open_rows(settings: SnapshotsSettings, frame: ServiceFrame, metrics: SnapshotMetrics) -> Rows:
    if not settings.gateway_address:
        return NoRows()
    channel = open_channel(settings.gateway_address)
    frame.resources.push_async_callback(channel.close)
    return GatewayRows(
        channel,
        api_key=settings.gateway_api_key.get_secret_value(),
        waited=metrics.paused,
    )


def _open_mirror(
    settings: SnapshotsSettings, frame: ServiceFrame, metrics: SnapshotMetrics
) -> Mirror:
    listed = (address.strip() for address in settings.cache_address.split(","))
    addresses = list(dict.fromkeys(address for address in listed if address))
    if not addresses:
        return NoMirror()
    channels = [open_channel(address, retries=False) for address in addresses]
    for channel in channels:
        frame.resources.push_async_callback(channel.close)
    stubs = [cache_pb2_grpc.RecordServiceStub(channel) for channel in channels]
    return CacheMirror(addresses, stubs, failed=metrics.mirror_failed)


def _declared(settings: SnapshotsSettings) -> Mapping[Namespace, Policy]:
    if not settings.facet_fields:
        return {}
    interval = f"{settings.snapshot_min_interval_ms}ms"
    try:
        found = _FACET_FIELDS.decode(settings.facet_fields)
        declared = {
            parse_namespace(name): Policy(facetFields=fields, interval=interval)
            for name, fields in found.items()
        }
        for policy in declared.values():
            check_policy(policy)
    except (msgspec.DecodeError, InvalidRequestError) as error:
        raise ConfigurationError(f"LAYER_FACET_FIELDS cannot be used: {error}") from error
    return declared
