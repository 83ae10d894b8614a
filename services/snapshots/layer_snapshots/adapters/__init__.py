"""The gateway and the cache over gRPC."""
