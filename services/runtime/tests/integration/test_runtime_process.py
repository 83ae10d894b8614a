"""The service as a process: started by its module name and called over gRPC."""

from __future__ import annotations

from layer.runtime.v1 import runtime_pb2
from layer_testing.declared_services import DeclaredServiceSuite


class TestRuntimeProcess(DeclaredServiceSuite):
    module = "layer_runtime"
    services = tuple(runtime_pb2.DESCRIPTOR.services_by_name.values())
