"""The state machine, quiet."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis.stateful import RuleBasedStateMachine

from layer_cache_testing.world import World


@pytest.fixture
def world() -> Iterator[type[RuleBasedStateMachine]]:
    """Yield the machine, with the log of its many thousand comings and goings turned off."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield World
    structlog.reset_defaults()
