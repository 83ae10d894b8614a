"""The stage that embeds: chunks of a document in, rows with vectors out."""

from __future__ import annotations

from embedders import PIPELINE, embedder

from layer_sdk import Document, PermanentError, Row, pipeline_stage

EMBED = embedder()


@pipeline_stage(id=PIPELINE)
def embed(document: Document) -> list[Row]:
    if not document.chunks:
        raise PermanentError("it has no text")
    vectors = EMBED([chunk.text or "" for chunk in document.chunks])
    return [
        Row(id=chunk.id, vector=vector, attributes={"text": chunk.text, **(chunk.metadata or {})})
        for chunk, vector in zip(document.chunks, vectors, strict=True)
    ]
