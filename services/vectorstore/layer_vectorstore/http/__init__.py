"""The HTTP edge: parse, call, render."""
