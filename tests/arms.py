"""An arm of a `comparison.json`, by hand and complete, to be changed where a test needs it."""

NAMES = ("covid", "none")
OF_CLASS = {"precision": 0.9, "recall": 0.9, "specificity": 0.9, "f1": 0.9, "roc_auc": 0.95, "average_precision": 0.9}
METRICS = {
    "accuracy": 0.9,
    "balanced_accuracy": 0.9,
    "macro": OF_CLASS,
    "kappa": 0.8,
    "mcc": 0.8,
    "brier": 0.2,
    "log_loss": 0.3,
    "ece": 0.05,
    "per_class": {"covid": OF_CLASS | {"support": 8}, "none": OF_CLASS | {"support": 12}},
    "confusion_matrix": [[7, 1], [1, 11]],
    "intervals": {
        "accuracy": [0.8, 0.95],
        **{f"{name}.{metric}": [0.75, 0.97] for name in NAMES for metric in ("recall", "specificity", "roc_auc")},
    },
    "calibration": {"bins": [], "temperature": 1.0, "fitted_on": "valid", "ece_after": 0.02, "log_loss_after": 0.3},
    "operating_points": {},
    "subgroups": [],
}
COST = {
    "image_size": [64, 48],
    "epochs": 5,
    "prepare_seconds": 3.0,
    "segment_seconds": 0.0,
    "train_seconds": 90.0,
    "epoch_seconds": 18.0,
    "train_images_per_second": 30.4,
    "device": "cpu",
    "peak_host_bytes": 10**9,
    "peak_device_bytes": 0,
}
ARM = {
    "classes": list(NAMES),
    "images": {"train": 80, "valid": 20},
    "parameters": 1234,
    "bad_images": 0,
    **METRICS,
    "untrusted_lungs": 0,
    "normalizer": {"kind": "training", "mean": 0.5, "training_mean": 0.5},
    "attention": {"covid": {"inside_lungs": 0.4, "inside_lungs_of_fresh_weights": None, "lungs_of_picture": 0.3}},
    **COST,
}


def comparison_of(arms):
    """A parsed comparison of arms' JSON, by name."""
    from darkcovid.evaluation.results import parse_comparison

    return parse_comparison({"run_dir": "runs/x", "reference_arm": next(iter(arms)), "arms": arms})
