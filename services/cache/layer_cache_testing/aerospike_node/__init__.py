"""One node of an Aerospike cluster, as the official client sees it: its wire protocol over TCP.

No package registry has an Aerospike server, so the tests bring what the cache relies on: info
commands, single and batch reads, writes and deletes, generations, expiry, expression filters, scans
by partition, stop-writes, result codes. Faults can be turned on and off. The same tests run against
a real server when ``AEROSPIKE_HOSTS`` names one, apart from those that need a fault.
"""
