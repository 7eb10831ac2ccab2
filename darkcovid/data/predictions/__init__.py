"""Predictions of any framework, read from a CSV: which column is what, what the numbers are, and which row is of which image."""
