"""The gateway: the Turbopuffer contract at the edge, with layer's additions behind it."""
