"""The page about branching, and copies and empty namespaces of the page about writes."""

from __future__ import annotations

from typing import Any

import pytest
import turbopuffer
from turbopuffer import Turbopuffer


def test_a_namespace_is_made_empty_or_not_at_all(ns: Any) -> None:
    with pytest.raises(turbopuffer.NotFoundError):
        ns.write(upsert_rows=[{"id": "a"}], create_namespace=False)
    ns.write(create_namespace=True, schema={"id": "string", "n": "int"})
    assert ns.query(rank_by=("id", "asc"), limit=1).rows == []


def test_a_copy_is_independent_of_its_source(
    tpuf: Turbopuffer, ns: Any, name: str, ids: Any
) -> None:
    ns.write(upsert_rows=[{"id": at} for at in (1, 2, 3)])
    copies = [tpuf.namespace(f"{name}-{kind}") for kind in ("write", "object", "method", "later")]
    copies[0].write(copy_from_namespace=name)
    copies[1].write(copy_from_namespace={"source_namespace": name})
    copies[2].copy_from(source_namespace=name)
    token = copies[3].start_copy_from(source_namespace=name).token
    finished = copies[3].poll_copy_from(token)
    assert finished.status == "finished"
    ns.write(deletes=[1])
    for copy in copies:
        assert ids(copy.query(rank_by=("id", "asc"), limit=10)) == [1, 2, 3]


def test_a_branch_goes_its_own_way(tpuf: Turbopuffer, ns: Any, name: str) -> None:
    ns.write(upsert_rows=[{"id": 1, "title": "One"}, {"id": 2, "title": "Two"}])
    branch: Any = tpuf.namespace(f"{name}-branch")
    branch.branch_from(source_namespace=name)
    branch.write(upsert_rows=[{"id": 3, "title": "New"}])
    titles = [
        [row["title"] for row in found.rows]
        for found in (
            namespace.query(rank_by=("id", "asc"), limit=10, include_attributes=["title"])
            for namespace in (branch, ns)
        )
    ]
    assert titles == [["One", "Two", "New"], ["One", "Two"]]

    grandchild: Any = tpuf.namespace(f"{name}-grandchild")
    grandchild.write(branch_from_namespace=f"{name}-branch")
    ns.delete_all()
    branch.delete_all()
    assert len(grandchild.query(rank_by=("id", "asc"), limit=10).rows) == 3
