"""Schemas: what each attribute is, how it is indexed, and how it may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from layer_vectorstore.domain.attribute_types import AttributeType, Kind
from layer_vectorstore.domain.errors import RefusedError, attribute_type_changed
from layer_vectorstore.domain.limits import ATTRIBUTES_COUNT_MAX, VECTOR_ATTRIBUTES_COUNT_MAX

ID: Final = "id"

Tokenizer = Literal["word_v0", "word_v1", "word_v2", "word_v3", "word_v4", "pre_tokenized_array"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FullTextSearch:
    """How a text attribute is cut into terms and scored; the field names are the contract's."""

    tokenizer: Tokenizer = "word_v4"
    language: str = "english"
    stemming: bool = False
    remove_stopwords: bool = False
    case_sensitive: bool = False
    ascii_folding: bool = False
    max_token_length: int = 39
    k1: float = 1.2
    b: float = 0.75
    k3: float = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeSchema:
    type: AttributeType
    filterable: bool | None = None
    """As the user set it; None leaves it to :attr:`is_filterable`."""
    full_text_search: FullTextSearch | None = None
    regex: bool = False
    glob: bool = False
    fuzzy: bool = False

    @property
    def is_vector(self) -> bool:
        return self.type.kind in (Kind.DENSE, Kind.LATE_INTERACTION)

    @property
    def is_filterable(self) -> bool:
        if self.type.kind not in (Kind.SCALAR, Kind.ARRAY):
            return False
        if self.filterable is not None:
            return self.filterable
        return not (self.full_text_search or self.regex or self.glob or self.fuzzy)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeUpdate:
    """A requested change of one attribute; None keeps an option as it is."""

    type: AttributeType | None = None
    drop: bool = False
    filterable: bool | None = None
    full_text_search: FullTextSearch | Literal[False] | None = None
    regex: bool | None = None
    glob: bool | None = None
    fuzzy: bool | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    """The attributes of a namespace; ``id`` is one of them once its type is known."""

    attributes: Mapping[str, AttributeSchema]

    def updated(self, updates: Mapping[str, AttributeUpdate]) -> Schema:
        """Return the schema after ``updates``.

        Raises:
            RefusedError: ``ATTRIBUTE_TYPE_CHANGED``, ``ATTRIBUTES_TOO_MANY`` or
                ``VECTORS_TOO_MANY``.
        """
        attributes = dict(self.attributes)
        for name, update in updates.items():
            if update.drop:
                self._refuse_drop(name)
                attributes.pop(name, None)
                continue
            before = attributes.get(name)
            assert update.type is not None, "only a drop has no type"
            if before is not None and before.type != update.type:
                raise attribute_type_changed(name, before.type, update.type)
            attributes[name] = _changed(before or AttributeSchema(type=update.type), update)
        result = Schema(attributes)
        result._check_counts()
        return result

    def with_types(self, types: Mapping[str, AttributeType]) -> Schema:
        """Return the schema with inferred attributes added."""
        if not types:
            return self
        return self.updated({name: AttributeUpdate(type=found) for name, found in types.items()})

    @property
    def id_type(self) -> AttributeType | None:
        found = self.attributes.get(ID)
        return found.type if found else None

    @property
    def vectors(self) -> dict[str, AttributeSchema]:
        return {name: found for name, found in self.attributes.items() if found.is_vector}

    def _refuse_drop(self, name: str) -> None:
        found = self.attributes.get(name)
        if name == ID or (found is not None and found.is_vector):
            raise RefusedError(
                "ATTRIBUTE_NOT_DROPPABLE", f"💔 attribute '{name}' cannot be dropped"
            )

    def _check_counts(self) -> None:
        if len(self.attributes) > ATTRIBUTES_COUNT_MAX:
            raise RefusedError(
                "ATTRIBUTES_TOO_MANY",
                f"💔 a namespace can have at most {ATTRIBUTES_COUNT_MAX} attributes",
            )
        if len(self.vectors) > VECTOR_ATTRIBUTES_COUNT_MAX:
            raise RefusedError(
                "VECTORS_TOO_MANY",
                f"💔 a namespace can have at most {VECTOR_ATTRIBUTES_COUNT_MAX} vector attributes",
            )


EMPTY: Final = Schema({})


def _changed(before: AttributeSchema, update: AttributeUpdate) -> AttributeSchema:
    changes: dict[str, Any] = {
        option: value
        for option in ("filterable", "regex", "glob", "fuzzy")
        if (value := getattr(update, option)) is not None
    }
    if update.full_text_search is not None:
        changes["full_text_search"] = update.full_text_search or None
    return replace(before, **changes)
