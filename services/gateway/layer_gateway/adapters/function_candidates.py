"""Candidates of functions: JSON of the contract to messages, and back."""

from __future__ import annotations

from layer.runtime.v1 import runtime_pb2
from layer_gateway.adapters.function_items import reference_json
from layer_gateway.adapters.function_specs import (
    filter_message,
    rfc3339,
    spec_json,
    status_json,
    worker_message,
)
from layer_messages.values import plain_json
from layer_wire import functions as wire

Json = dict[str, object]


def candidate_message(
    function_id: str, body: wire.CreateCandidate
) -> runtime_pb2.CreateCandidateRequest:
    """Return the registration of a candidate.

    Raises:
        InvalidRequestError: ``FILTER_INVALID``.
    """
    return runtime_pb2.CreateCandidateRequest(
        function_id=function_id,
        version=body.version,
        outputs=body.outputs,
        inputs=body.inputs or (),
        filter=filter_message(body.filter, "filter"),
        worker=worker_message(body.worker) if body.worker else None,
        target_namespaces=body.target_namespaces or (),
    )


def candidate_json(candidate: runtime_pb2.Candidate) -> Json:
    return {
        "udf_id": candidate.function_id,
        "candidate_id": candidate.candidate_id,
        "version": candidate.spec.version,
        "outputs": list(candidate.outputs),
        "spec": spec_json(candidate.spec),
        "created_at": rfc3339(candidate.create_time),
        "status": status_json(candidate.candidate_id, candidate.status),
    }


def comparison_json(function_id: str, found: runtime_pb2.CompareCandidateResponse) -> Json:
    return {
        "udf_id": function_id,
        "candidate_id": found.candidate_id,
        "live_version": found.live_version,
        "candidate_version": found.candidate_version,
        "rows_compared": found.compared_row_count,
        "rows_agreed": found.agreed_row_count,
        "agreement_rate": _rate(found.agreed_row_count, found.compared_row_count),
        "truncated": found.is_truncated,
        "pending_count": found.status.pending_count,
        "processing_count": found.status.processing_count,
        "failed_count": found.status.failed_count,
        "outputs": [
            {
                "output": output.output,
                "compared": output.compared_count,
                "agreed": output.agreed_count,
                "agreement_rate": _rate(output.agreed_count, output.compared_count),
                "confusion": [
                    {
                        "live": plain_json(pair.live_value, "value"),
                        "candidate": plain_json(pair.candidate_value, "value"),
                        "count": pair.count,
                    }
                    for pair in output.pairs
                ],
            }
            for output in found.outputs
        ],
        "disagreements": [
            {
                **reference_json(row.item),
                "output": row.output,
                "live": plain_json(row.live_value, "value"),
                "candidate": plain_json(row.candidate_value, "value"),
            }
            for row in found.disagreements
        ],
    }


def _rate(part_count: int, count: int) -> float:
    return part_count / count if count else 0.0
