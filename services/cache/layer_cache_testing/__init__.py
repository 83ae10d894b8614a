"""What the tests of the cache share: a model of the world around it."""
