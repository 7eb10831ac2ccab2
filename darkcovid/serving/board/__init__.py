"""The board: all runs of a folder on a local page, read only."""
