"""Several processes of one gateway behind one port, and what they share."""
