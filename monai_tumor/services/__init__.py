<<<<<<< HEAD
"""A folder of studies in, results out: what the command line calls."""
=======
"""What a user asks for in one call: score predictions, compare models, process folders."""
>>>>>>> metrics
