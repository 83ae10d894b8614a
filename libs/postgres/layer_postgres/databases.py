"""Databases within a server."""

from __future__ import annotations

import asyncpg

from layer_postgres.cluster import Cluster


async def create_database(cluster: Cluster, name: str) -> str:
    """Create the database ``name`` unless it exists; return its URL."""
    connection = await asyncpg.connect(cluster.url())
    try:
        exists = "SELECT true FROM pg_database WHERE datname = $1"
        if not await connection.fetchval(exists, name):
            quoted = name.replace('"', '""')
            await connection.execute(f'CREATE DATABASE "{quoted}"')
    finally:
        await connection.close()
    return cluster.url(name)
