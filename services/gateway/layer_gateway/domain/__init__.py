"""Decisions about searches: words, ranks and routes. No I/O."""
