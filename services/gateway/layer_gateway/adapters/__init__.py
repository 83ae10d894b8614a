"""What the ports are in production: the upstream store over HTTP, the cache over gRPC."""
