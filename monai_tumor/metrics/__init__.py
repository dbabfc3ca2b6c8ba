"""Segmentation scores and their uncertainty."""
