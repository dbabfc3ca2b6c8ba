"""Handlers and inferers for training, named by what they do."""
