"""The Turbopuffer and Layer HTTP contract as data: bodies, ids, filters. No I/O.

Bodies are decoded to the few keys that layer touches; every other value stays the bytes that the
caller sent (``msgspec.Raw``), so that u64 ids, float spellings and escapes survive a passage.
"""
