"""The gRPC services: parse, call, render."""
