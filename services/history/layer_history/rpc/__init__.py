"""The gRPC edge: parse, call, render."""
