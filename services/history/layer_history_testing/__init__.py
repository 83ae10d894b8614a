"""What tests of the history, and of those who use it, have in common."""
