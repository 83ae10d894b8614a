"""The rules of order: pure, without I/O, clocks or randomness of their own."""
