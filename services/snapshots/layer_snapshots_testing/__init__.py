"""What tests of the snapshots, and of those who use them, have in common."""
