"""Types, filters, ranking and storage in memory: what the contract says, without I/O."""
