"""Fitted models and the lung segmenter, applied to files."""
