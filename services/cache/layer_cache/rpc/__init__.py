"""The gRPC edges: parse, call, render."""
