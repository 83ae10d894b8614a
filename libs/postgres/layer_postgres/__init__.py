"""A PostgreSQL of one's own, from the binaries of a PyPI package: for `layer up` and for tests."""

from __future__ import annotations

from layer_postgres.cluster import Cluster, running_cluster
from layer_postgres.databases import create_database

__all__ = ["Cluster", "create_database", "running_cluster"]
