"""Rows and ledger in an Aerospike cluster; docs/decisions has why it is safe to do so.

``client``, with ``records`` and ``facts``, is all that knows the driver and the server. ``tenure``
holds the right to write: one process at a time, enforced. ``rows`` and ``ledger`` are the two
ports.
"""
