"""Decisions and values that stand on nothing: searches, scopes, declared stores. No I/O."""
