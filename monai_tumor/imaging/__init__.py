"""Measures on label maps and images: components, contours, volumes."""
