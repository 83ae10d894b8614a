"""What the metrics say by which workers are scaled."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from layer_runtime.application.function_registry import Status
from layer_runtime.domain.functions import FunctionId, FunctionSpec, Schedule
from layer_runtime.function_metrics import FunctionMetrics
from layer_runtime.ports.functions import Function
from layer_runtime.ports.items import QueueFigures


def status(name: str, *, cron: str, is_window_open: bool) -> Status:
    function = Function(
        number=1,
        id=FunctionId(name),
        spec=FunctionSpec(schedule=Schedule(cron=cron)),
        is_paused=False,
        created_at_ms=0,
        updated_at_ms=0,
        sweep_count=0,
        sweep_failures=0,
        swept_at_ms=None,
        active_namespaces=(),
        is_window_open=is_window_open,
    )
    return Status(function=function, figures=QueueFigures(pending_count=3, processing_count=1))


def test_windows_are_shown_of_functions_with_a_schedule_alone() -> None:
    registry = CollectorRegistry()
    FunctionMetrics(registry).show(
        [
            status("nightly", cron="0 2 * * *", is_window_open=False),
            status("hourly", cron="0 * * * *", is_window_open=True),
            status("always", cron="", is_window_open=False),
        ]
    )
    shown = generate_latest(registry).decode()
    assert 'layer_udf_window_open{udf="nightly"} 0.0' in shown
    assert 'layer_udf_window_open{udf="hourly"} 1.0' in shown
    assert 'layer_udf_window_open{udf="always"}' not in shown
    assert 'layer_udf_queue_depth{udf="nightly"} 4.0' in shown
