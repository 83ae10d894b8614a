"""History on the command line: its pages, and the forms they are shown and written in."""
