"""The HTTP edge: translate, call a use case, render."""
