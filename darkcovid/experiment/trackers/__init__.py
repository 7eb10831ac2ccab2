"""Runs in other people's books: TensorBoard and MLflow, live or afterwards."""
