"""A lean HTTP/1.1 client for the gateway's hot path; its README tells when to use it."""

from __future__ import annotations

from layer_upstream.calls import Call, Receiver
from layer_upstream.client import UpstreamClient
from layer_upstream.limits import UpstreamLimits
from layer_upstream.response import UpstreamResponse
from layer_upstream.templates import HeadTemplate, template_of

__all__ = [
    "Call",
    "HeadTemplate",
    "Receiver",
    "UpstreamClient",
    "UpstreamLimits",
    "UpstreamResponse",
    "template_of",
]
