"""The typed gRPC edge: messages to the JSON that the use cases take, and back. No rules here."""
