"""What a user can want of the store: write, query, look at and manage namespaces."""
