"""Row stores and ledgers: on disk in RocksDB or SQLite, in Aerospike, or in memory."""
