"""Arrays in, numbers out: metrics, their intervals and tests. No files here."""
