"""What every layer process is made of: errors, settings, lifecycle, telemetry, RPC plumbing.

The kit knows no service. Services import it; it imports nothing of ours.
"""
