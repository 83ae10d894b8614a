"""One module per verb of `layer`: parse, call, show."""
