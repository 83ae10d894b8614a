"""Any query of one namespace that layer answers itself, taken to the use case of its form."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.auto import SearchAuto
from layer_gateway.application.hybrid import SearchText
from layer_gateway.application.querying import QueryRows
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace
from layer_wire.queries import LayerQuery
from layer_wire.search_bodies import Query
from layer_wire.searches import AutoSearch, TextSearch


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerQuery:
    """Answers queries of every form."""

    query_rows: QueryRows
    search_text: SearchText
    search_auto: SearchAuto

    def __call__(
        self,
        namespace: Namespace,
        query: Query,
        caller: Caller,
        *,
        slots: asyncio.Semaphore | None = None,
    ) -> Coroutine[Any, Any, QueryAnswer]:
        """Answer ``query``; errors are those of its form.

        Args:
            slots: Bounds the upstream requests of a larger whole.
        """
        match query:
            case LayerQuery():
                return self.query_rows(namespace, query, caller, slots=slots)
            case TextSearch():
                return self.search_text(namespace, query, caller, slots=slots)
            case AutoSearch():
                return self.search_auto(namespace, query, caller, slots=slots)
