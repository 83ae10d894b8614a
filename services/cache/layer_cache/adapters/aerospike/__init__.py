"""Rows and ledger in an Aerospike cluster; docs/decisions has why it is safe to do so.

``client`` and ``driver``, with ``records`` and ``facts``, are all that knows the server. ``tenure``
holds the right to write: one process at a time, enforced. ``rows`` and ``ledger`` are the two
ports.
"""
