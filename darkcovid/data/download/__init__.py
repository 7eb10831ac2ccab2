"""Fetching the images and masks that a manifest names."""
