"""What the store refuses, as errors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from layer_gateway.application.refusals import TEXT_LENGTH_MAX, accepted
from layer_gateway.ports.stores import Headers
from layer_kit.errors import (
    InvalidRequestError,
    KeyRefusedError,
    LayerError,
    NotFoundError,
    QuotaExceededError,
    UnauthenticatedError,
    UpstreamError,
)
from layer_kit.names import Namespace

BOOKS = Namespace("books")


@dataclass(frozen=True)
class Answer:
    """What the store said."""

    status: int
    body: bytes = b'{"status":"error","error":"no, because"}'
    headers: Headers = ()


def error_of(answer: Answer, namespace: Namespace | None = BOOKS) -> LayerError:
    with pytest.raises(LayerError) as error:
        accepted(answer, namespace)
    return error.value


def test_an_answer_that_says_yes_is_returned() -> None:
    answer = Answer(202)
    assert accepted(answer, BOOKS) is answer


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, InvalidRequestError, "UPSTREAM_REFUSED"),
        (401, UnauthenticatedError, "UPSTREAM_REFUSED"),
        (403, KeyRefusedError, "UPSTREAM_REFUSED"),
        (404, NotFoundError, "NAMESPACE_NOT_FOUND"),
        (408, UpstreamError, "UPSTREAM_FAILED"),
        (409, UpstreamError, "UPSTREAM_FAILED"),
        (413, InvalidRequestError, "UPSTREAM_REFUSED"),
        (422, InvalidRequestError, "UPSTREAM_REFUSED"),
        (429, QuotaExceededError, "UPSTREAM_BUSY"),
        (499, InvalidRequestError, "UPSTREAM_REFUSED"),
        (500, UpstreamError, "UPSTREAM_FAILED"),
        (503, UpstreamError, "UPSTREAM_FAILED"),
        (302, UpstreamError, "UPSTREAM_FAILED"),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[LayerError], reason: str) -> None:
    error = error_of(Answer(status))
    assert (type(error), error.reason) == (kind, reason)


def test_a_404_of_no_namespace_is_a_refusal() -> None:
    assert error_of(Answer(404), None).reason == "UPSTREAM_REFUSED"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":"no, because"}', "no, because"),
        (b'{"message":"other"}', '{"message":"other"}'),
        (b"Invalid URL", "Invalid URL"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        ("é".encode() * 5000, "é" * TEXT_LENGTH_MAX),
    ],
)
def test_the_text_of_the_store_is_told_within_a_bound(body: bytes, text: str) -> None:
    assert error_of(Answer(400, body)).metadata["text"] == text


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"2")], 2.0),
        ([(b"retry-after-ms", b"1500"), (b"retry-after", b"2")], 1.5),
        ([(b"retry-after", b"Fri, 31 Dec 1999 23:59:59 GMT")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"-1")], None),
    ],
)
def test_a_pause_is_told_where_the_store_names_one(headers: Headers, seconds: float | None) -> None:
    assert error_of(Answer(429, headers=headers)).retry_after_s == seconds
    assert error_of(Answer(503, headers=headers)).retry_after_s == seconds
