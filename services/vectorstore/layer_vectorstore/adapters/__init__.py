"""The durable log on SQLite."""
