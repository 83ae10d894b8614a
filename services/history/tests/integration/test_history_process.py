"""The service as a process: started by its module name and called over gRPC."""

from __future__ import annotations

from layer.history.v1 import history_pb2
from layer_testing.declared_services import DeclaredServiceSuite


class TestHistoryProcess(DeclaredServiceSuite):
    module = "layer_history"
    services = tuple(history_pb2.DESCRIPTOR.services_by_name.values())
