"""The embedded store: the Turbopuffer HTTP contract on one process and one directory."""
