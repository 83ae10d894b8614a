"""What the gateway's use cases need from the world. Adapters satisfy these structurally."""
