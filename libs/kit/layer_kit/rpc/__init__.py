"""gRPC as layer uses it: one way to serve, one way to call, one error model."""
