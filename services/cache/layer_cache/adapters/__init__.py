"""Row stores and ledgers: RocksDB with SQLite on disk, or both in memory."""
