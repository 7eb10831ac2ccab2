"""Which images are copies of one another, altered or not."""
