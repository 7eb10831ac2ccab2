"""Runs in other people's books: TensorBoard and MLflow, live or afterwards."""

OF_TRACKERS = frozenset({"tensorboard", "wandb"})  # folders of a run that hold what trackers wrote, and nothing of ours
