"""Parameter studies: many runs of one experiment, from a design of points to tables of results."""
