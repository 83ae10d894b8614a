"""The service as a process: started by its module name and called over gRPC."""

from __future__ import annotations

from layer.snapshots.v1 import snapshots_pb2
from layer_testing.declared_services import DeclaredServiceSuite


class TestSnapshotsProcess(DeclaredServiceSuite):
    module = "layer_snapshots"
    services = tuple(snapshots_pb2.DESCRIPTOR.services_by_name.values())
