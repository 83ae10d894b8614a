"""Scans: reading a namespace as a whole, and keeping what was found."""
