"""Streams of gRPC messages on the event loop: HTTP/2 without the threads of grpc."""
