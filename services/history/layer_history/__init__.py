"""Search history: what was searched and which results were opened."""
