"""What a function raises to say what is to become of its item."""

from __future__ import annotations


class TransientError(Exception):
    """The item could not be processed now; trying again after a pause can help."""


class PermanentError(Exception):
    """The item can never be processed as it is; it is given up at once."""
