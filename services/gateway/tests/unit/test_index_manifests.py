"""Labels of indexes, out of a file that changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_gateway.adapters.index_manifests import FILE_BYTES_MAX, IndexManifests, NoLabels
from layer_kit.configuration import ConfigurationError
from layer_kit.names import Namespace

PRODUCTS, DOCS, OTHER = Namespace("products"), Namespace("docs"), Namespace("other")
TWO = """
kind: Index
apiVersion: hevlayer.com/v1
metadata: {name: products, labels: {team: search, tier: gold}}
spec: {backend: {storeRef: {name: main}}, cache: {ttl: 24h}}
status: {phase: Ready}
---
kind: List
items:
  - kind: Index
    metadata: {name: documentation, labels: {team: docs}}
    spec: {backend: {namespace: docs}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "indexes.yaml"
    path.write_text(text)
    return path


def test_a_namespace_has_the_labels_of_its_index(tmp_path: Path) -> None:
    labels = IndexManifests(str(written(tmp_path, TWO)))
    assert labels.of(PRODUCTS) == {"team": "search", "tier": "gold"}
    assert labels.of(DOCS) == {"team": "docs"}
    assert labels.of(OTHER) == {}
    assert NoLabels().of(PRODUCTS) == {}


@pytest.mark.asyncio
async def test_a_file_that_changes_is_read_anew_and_one_that_breaks_is_not(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    labels = IndexManifests(str(path))
    await labels.look()
    # As a mounted one is replaced, and as an editor writes.
    newer = tmp_path / "newer"
    newer.write_text("- {kind: Index, metadata: {name: other, labels: {team: ads}}}")
    newer.replace(path)
    await labels.look()
    assert (labels.of(OTHER), labels.of(DOCS)) == ({"team": "ads"}, {})
    for broken in ("[", "- {kind: Index}"):
        path.write_text(broken)
        with pytest.raises(ConfigurationError):
            await labels.look()
        assert labels.of(OTHER) == {"team": "ads"}
    path.unlink()
    with pytest.raises(ConfigurationError):
        await labels.look()
    written(tmp_path, TWO)
    await labels.look()
    assert labels.of(DOCS) == {"team": "docs"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "indexes.yaml"),
        ("[" * 100_000, "indexes.yaml"),
        ("#" * (FILE_BYTES_MAX + 1), "is longer than"),
        ("kind: VectorStore\nmetadata: {name: a}", "Index number 1"),
        ("kind: Index\nmetadata: {labels: {}}", "name"),
        ("kind: Index\nmetadata: {name: a, labels: {tier: 1}}", "tier|str"),
        ("kind: Index\nmetadata: {name: 'a b'}", "Index number 1"),
        (
            (
                "[{kind: Index, metadata: {name: a}}, "
                "{kind: Index, metadata: {name: b}, spec: {backend: {namespace: a}}}]"
            ),
            "two indexes",
        ),
    ],
    ids=lambda found: found[:12],
)
def test_what_cannot_be_used_is_told_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        IndexManifests(str(written(tmp_path, text)))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        IndexManifests(str(tmp_path / "none"))
