"""Workers of functions and pipelines: what a team writes to process its rows and documents."""
