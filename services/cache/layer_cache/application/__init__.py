"""What gateways can want from the cache: reads, writes around upstream writes, membership."""
