"""What a user asks for in one call: score predictions, compare models, process folders."""
