"""Models that were made elsewhere, asked for their answers: files in a process of their own, and HTTP endpoints."""
