"""Where child processes of tests come from."""

from __future__ import annotations

from layer_kit.children import DEVNULL, PIPE, Child, start_child

__all__ = ["DEVNULL", "PIPE", "Child", "start_child"]
