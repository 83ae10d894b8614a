"""Attribute and row names that are layer's (docs/reference/http.md, "Reserved names")."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

RESERVED_PREFIX: Final = "_hevlayer_"
UPSERTED_AT: Final = "_hevlayer_upserted_at"
"""Epoch milliseconds of the write that last touched the row; one value per request."""

SHARD: Final = "_hevlayer_shard"
"""Partition of the row for scatter and gather, in ``[0, shard_count)``."""

OVERWRITTEN: Final = frozenset({UPSERTED_AT, SHARD})
"""Reserved names that a client may send; layer writes its own value over them."""

OF_FUNCTIONS: Final = ("_hevlayer_udf_", "_hevlayer_cand_")
"""What the names of attributes start with in which rows keep what functions have done."""

PARENT_ID: Final = "_hevlayer_parent_id"
"""Which document a row is a part of, as a string."""

CHUNK_INDEX: Final = "_hevlayer_chunk_index"
"""Where in it, from 0 on."""

OF_DOCUMENTS: Final = (PARENT_ID, CHUNK_INDEX)
"""What pipelines may write besides attributes of their own."""

MARKER_ID: Final = "_hevlayer:namespace_meta"
"""Id of the row that records how a namespace was initialised."""

MARKER_SHARD_COUNT: Final = "_hevlayer_shard_count"
MARKER_SCHEMA_VERSION: Final = "_hevlayer_schema_version"

VECTOR_KEYS: Final = frozenset({"vector", "vectors"})
"""Kept apart from the attributes of a row: a fetch never returns them."""


class Author(Enum):
    """Who writes rows, and with that which reserved names they may carry."""

    CLIENT = auto()
    PIPELINE = auto()
    FUNCTION = auto()

    @property
    def prefixes(self) -> tuple[str, ...]:
        return _PREFIXES[self]


# Not the members' values: an empty tuple is none on every CPython 3.11.
_PREFIXES: Final[Mapping[Author, tuple[str, ...]]] = {
    Author.CLIENT: (),
    Author.PIPELINE: OF_DOCUMENTS,
    Author.FUNCTION: (*OF_FUNCTIONS, *OF_DOCUMENTS),
}
