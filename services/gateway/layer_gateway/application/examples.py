"""Ranking by example: the vectors of rows that are like what is looked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from layer_gateway.application.fetching import FetchRows
from layer_gateway.ports.stores import Caller
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_kit.names import Namespace
from layer_wire.ids import JsonId
from layer_wire.jsontext import Raw, raw
from layer_wire.queries import LayerQuery, rank_by_vector
from layer_wire.vectors import stored_vector


@dataclass(frozen=True, slots=True, kw_only=True)
class RankByExample:
    """Makes the store's ``rank_by`` out of whatever a query is ranked by."""

    fetch: FetchRows

    async def __call__(self, namespace: Namespace, query: LayerQuery, caller: Caller) -> Raw:
        """Return the ``rank_by`` of a checked query.

        Raises:
            InvalidRequestError: ``VECTORS_DIFFER`` when examples have different dimensions.
            NotFoundError: ``EXAMPLES_NOT_FOUND``, naming every id of ``nearest_to_id`` that
                has no row or no vector.
            UpstreamError: The store's own.
        """
        if query.rank_by is not None:
            return query.rank_by
        if query.vector is not None:
            return rank_by_vector(query.vector)
        if query.nearest_to_id is None:
            raise AssertionError("a checked query has one source of rank")
        return rank_by_vector(await self._mean_vector(namespace, query.nearest_to_id, caller))

    async def _mean_vector(
        self, namespace: Namespace, ids: Sequence[JsonId], caller: Caller
    ) -> Raw:
        """Return the component-wise mean of the stored vectors of ``ids``."""
        texts = [str(id_) for id_ in ids]
        fetched = await self.fetch.by_text(namespace, texts, caller, names=[], with_vectors=True)
        found = {at: stored_vector(row.vectors) for at, row in fetched.rows.items()}
        missing = [text for at, text in enumerate(texts) if not found.get(at)]
        if missing:
            raise NotFoundError(
                "EXAMPLES_NOT_FOUND",
                f"No vector is stored for {', '.join(missing)}.",
                ids=",".join(missing),
            )
        vectors = [found[at] or [] for at in range(len(texts))]
        if len({len(vector) for vector in vectors}) != 1:
            raise InvalidRequestError(
                "VECTORS_DIFFER",
                "The rows of nearest_to_id have vectors of different lengths.",
                field="nearest_to_id",
            )
        return raw([math.fsum(parts) / len(parts) for parts in zip(*vectors, strict=True)])
