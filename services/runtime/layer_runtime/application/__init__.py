"""What callers and the clock make the runtime do."""
