"""Candidates of functions, as messages."""

from __future__ import annotations

from google.protobuf import struct_pb2

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_runtime.application.comparing import PAIRS_SHOWN_MAX, Agreement, Comparison
from layer_runtime.application.function_registry import Status
from layer_runtime.domain.items import Value
from layer_runtime.rpc.function_items import reference_message
from layer_runtime.rpc.function_specs import spec_message, stamp, status_message


def candidate_message(function_id: str, status: Status) -> runtime_pb2.Candidate:
    candidate = status.function
    return runtime_pb2.Candidate(
        function_id=function_id,
        candidate_id=candidate.id,
        spec=spec_message(candidate),
        outputs=candidate.outputs,
        create_time=stamp(candidate.created_at_ms),
        status=status_message(status),
    )


def comparison_message(found: Comparison) -> runtime_pb2.CompareCandidateResponse:
    response = runtime_pb2.CompareCandidateResponse(
        candidate_id=found.candidate.function.id,
        live_version=found.live.spec.version,
        candidate_version=found.candidate.function.spec.version,
        compared_row_count=found.compared_count,
        agreed_row_count=found.agreed_count,
        is_truncated=found.is_truncated,
        outputs=[_agreement(name, found.outputs[name]) for name in sorted(found.outputs)],
        status=status_message(found.candidate),
    )
    for key, output, (live, candidate) in found.disagreements:
        response.disagreements.add(
            item=reference_message(key),
            output=output,
            live_value=_value(live),
            candidate_value=_value(candidate),
        )
    return response


def _agreement(name: str, found: Agreement) -> runtime_pb2.OutputAgreement:
    return runtime_pb2.OutputAgreement(
        output=name,
        compared_count=found.compared_count,
        agreed_count=found.agreed_count,
        pairs=[
            runtime_pb2.ValuePair(
                live_value=_value(live), candidate_value=_value(candidate), count=count
            )
            for (live, candidate), count in found.pairs.most_common(PAIRS_SHOWN_MAX)
        ],
    )


def _value(value: Value | None) -> common_pb2.Value:
    if value is None:
        return common_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    return common_pb2.Value.FromString(value)
