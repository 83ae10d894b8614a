"""Functions as the command line knows them."""
