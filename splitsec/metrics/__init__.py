"""Measures of what a reconstruction gives away, and of what a model is still worth."""
