"""A folder of studies in, results out: what the command line calls."""
