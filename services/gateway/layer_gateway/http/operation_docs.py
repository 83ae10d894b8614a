"""What each operation takes and gives, in few words: what `/openapi.json` is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from layer_gateway.http.insight_docs import INSIGHT_DOCS
from layer_gateway.http.operation_doc import OperationDoc
from layer_gateway.http.plane_docs import PLANE_DOCS
from layer_gateway.http.routes import Operation
from layer_gateway.http.work_docs import WORK_DOCS

DOCS: Final[Mapping[Operation, OperationDoc]] = PLANE_DOCS | INSIGHT_DOCS | WORK_DOCS
