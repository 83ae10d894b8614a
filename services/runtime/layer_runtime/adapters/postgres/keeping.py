"""Keeps the database usable: the schema first, then a look at it every now and then."""

from __future__ import annotations

import structlog

from layer_kit.errors import UnavailableError
from layer_kit.health import Health
from layer_runtime.adapters.postgres.database import Database
from layer_runtime.adapters.postgres.migrations import migrate

log = structlog.get_logger(__name__)

COMPONENT = "database"


class DatabaseKeeper:
    """Tells the health of the process what the database is like."""

    def __init__(self, *, control: Database, data: Database, health: Health) -> None:
        """Declare the database as needed; ``data`` lends nothing before the schema is there."""
        self._control = control
        self._data = data
        self._health = health
        self._is_migrated = False
        self._is_away = False
        health.require(COMPONENT)
        data.hold_back()

    async def look(self) -> None:
        """Bring the schema up to date where that is still to do, and see whether it answers.

        Raises:
            ConfigurationError: The schema is of another lineage; no retry changes that.
        """
        try:
            if self._is_migrated:
                await self._control.fetchval("ping", "SELECT 1")
            else:
                await migrate(self._control)
                self._is_migrated = True
                self._data.release()
        except UnavailableError as error:
            if not self._is_away:
                log.warning("database_away", cause=error.message)
            self._is_away = True
            self._health.unready(COMPONENT, error.message)
            return
        if self._is_away:
            log.info("database_back")
        self._is_away = False
        self._health.ready(COMPONENT)
