"""What pipelines and functions are, without anything that they are kept in or reached by."""
