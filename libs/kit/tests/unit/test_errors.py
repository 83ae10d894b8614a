from __future__ import annotations

import inspect

import grpc
import grpc.aio
import msgspec
import pytest

from layer_kit import errors
from layer_kit.errors import (
    ForbiddenError,
    InternalError,
    InvalidRequestError,
    LayerError,
    NotFoundError,
    PayloadTooLargeError,
    QuotaExceededError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
    UpstreamError,
)
from layer_kit.http_errors import error_body, error_headers
from layer_kit.names import NAMESPACE_LENGTH_MAX, parse_namespace
from layer_kit.rpc.errors import DETAILS_KEY, from_rpc_error, status_code, to_status

TREE = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, LayerError)
]


def over_the_wire(error: LayerError) -> LayerError:
    """Return what a client makes of ``error`` once a server has sent it."""
    details = to_status(error, domain="layer.shelf.v1").SerializeToString()
    return from_rpc_error(
        grpc.aio.AioRpcError(
            status_code(error),
            grpc.aio.Metadata(),
            grpc.aio.Metadata((DETAILS_KEY, details)),
            details=error.message,
        )
    )


@pytest.mark.parametrize("kind", TREE)
def test_an_error_arrives_with_its_code_reason_message_and_metadata(
    kind: type[LayerError],
) -> None:
    sent = kind("SHELF_FULL", "The shelf takes 3 books.", retry_after_s=1.25, count_max=3)
    got = over_the_wire(sent)
    assert got.code == kind.code
    assert (got.reason, got.message) == ("SHELF_FULL", "The shelf takes 3 books.")
    assert got.metadata == {"count_max": "3"}
    assert got.retry_after_s == 1.25


def test_an_error_without_a_pause_arrives_without_one() -> None:
    assert over_the_wire(NotFoundError("BOOK_UNKNOWN", "No.")).retry_after_s is None


@pytest.mark.parametrize(
    "kind", [NotFoundError, UnavailableError, InternalError, InvalidRequestError]
)
def test_the_class_of_a_code_arrives_as_itself(kind: type[LayerError]) -> None:
    assert type(over_the_wire(kind("REASON", "Text."))) is kind


def test_the_status_names_the_service_that_raised() -> None:
    status = to_status(NotFoundError("BOOK_UNKNOWN", "No."), domain="layer.shelf.v1")
    assert b"layer.shelf.v1" in status.details[0].value
    assert len(status.details) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.UNIMPLEMENTED, UnsupportedError),
        (grpc.StatusCode.UNKNOWN, InternalError),
        (grpc.StatusCode.CANCELLED, InternalError),
    ],
)
def test_a_fault_of_the_transport_becomes_an_error_by_its_code(
    code: grpc.StatusCode, kind: type[LayerError]
) -> None:
    fault = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=None)
    error = from_rpc_error(fault)
    assert type(error) is kind
    assert (error.reason, error.message, error.metadata) == (code.name, code.name, {})


def test_unreadable_details_are_ignored() -> None:
    fault = grpc.aio.AioRpcError(
        grpc.StatusCode.NOT_FOUND,
        grpc.aio.Metadata(),
        grpc.aio.Metadata((DETAILS_KEY, b"\xff\xff")),
        details="gone",
    )
    error = from_rpc_error(fault)
    assert isinstance(error, NotFoundError)
    assert (error.reason, error.message) == ("NOT_FOUND", "gone")


@pytest.mark.parametrize("kind", TREE)
def test_the_http_body_has_the_code_of_the_contract_or_the_message(kind: type[LayerError]) -> None:
    body = msgspec.json.decode(error_body(kind("SHELF_FULL", "The shelf is full.")))
    assert body == {
        "error": kind.http_error or "The shelf is full.",
        "message": "The shelf is full.",
        "reason": "SHELF_FULL",
    }


def test_the_http_body_shows_the_metadata_that_the_contract_names() -> None:
    error = ForbiddenError("SCOPE_MISSING", "No.", required_scope="write", secret="x")
    body = msgspec.json.decode(error_body(error))
    assert body["required_scope"] == "write"
    assert "secret" not in body


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (QuotaExceededError, "true"),
        (UnavailableError, "true"),
        (UpstreamError, "true"),
        (NotFoundError, "false"),
        (PayloadTooLargeError, "false"),
        (UnauthenticatedError, "false"),
        (InternalError, "false"),
    ],
)
def test_every_answer_tells_whether_a_retry_can_help(kind: type[LayerError], told: str) -> None:
    assert error_headers(kind("REASON", "Text."))["x-should-retry"] == told


def test_a_pause_is_rounded_up_to_whole_seconds() -> None:
    headers = error_headers(QuotaExceededError("BUSY", "Wait.", retry_after_s=0.2))
    assert headers["retry-after"] == "1"
    assert "retry-after" not in error_headers(QuotaExceededError("BUSY", "Wait."))


@pytest.mark.parametrize(
    "name", ["a", "A-z_0.9", "x" * NAMESPACE_LENGTH_MAX, "...", "..a", "_hevlayer"]
)
def test_a_namespace_name_is_kept(name: str) -> None:
    assert parse_namespace(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a b", "a/b", "ü", "a\n", "x" * (NAMESPACE_LENGTH_MAX + 1)]
)
def test_a_bad_namespace_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_namespace(name)
    assert caught.value.reason == "NAMESPACE_INVALID"


def test_a_refused_namespace_name_is_shown_cut() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_namespace("x" * 100_000)
    assert len(caught.value.message) < 300
    assert len(caught.value.metadata["namespace"]) == NAMESPACE_LENGTH_MAX + 1
