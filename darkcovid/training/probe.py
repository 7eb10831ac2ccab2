"""A frozen backbone and a head that is fitted at once: features of all images, then logistic regression or a table of them."""

import hashlib
from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from torch import nn

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device, predict_batches
from darkcovid.data.cohort import Cohort
from darkcovid.models.probes import LinearProbe, NearestNeighbors, pooled
from darkcovid.models.transfer import TransferClassifier
from darkcovid.training.fit import FitOptions
from darkcovid.training.history import History
from darkcovid.training.resources import ResourceUsage, track_resources

PENALTIES = tuple(10.0**power for power in range(-4, 2))  # scikit-learn's C; the one with the least loss on other patients
DEFAULT_PENALTY = 1.0
INNER_FOLDS, MAX_ITERATIONS = 3, 2000
REMEMBERED = 2  # sets of features; arms and folds on the same backbone and pixels share them


def fit_probe(
    network: TransferClassifier,
    pixels: StoredArray,
    normalizer: nn.Module,
    cohort: Cohort,
    compute: Device,
    probabilities: Callable[[torch.Tensor], torch.Tensor],
    weights: np.ndarray | None,
    options: FitOptions,
) -> tuple[History, ResourceUsage, np.ndarray]:
    """Fit a network's probe to the training images' features.

    Args:
        network: A backbone with a probe, which is changed in place.
        pixels: (n, h, w) or (n, c, h, w) uint8, the cohort's inputs.
        normalizer: Of the network's inputs.
        cohort: Labels, patients and sets.
        compute: Device and precision.
        probabilities: (n, outputs) logits to (n, classes) probabilities.
        weights: (n,) how much each training image counts for a linear probe; None: all the same.
        options: `on_epoch` is called once.

    Returns:
        A history of one row, whose seconds count the features also where an earlier fit computed them; what was spent; and (n,
        classes) float32 probabilities of all images.
    """
    head: LinearProbe | NearestNeighbors = network.get_submodule("head")  # pyright: ignore[reportAssignmentType]
    history = History("accuracy")
    with track_resources(compute.device, ResourceUsage()) as meter:
        features, feature_seconds = backbone_features(network.body, pixels, normalizer, compute)
        started = perf_counter()
        train = np.flatnonzero(cohort.train)
        if isinstance(head, LinearProbe):
            counts = None if weights is None else weights[train] / weights[train].mean()
            _fit_linear(head, features[train], cohort.labels[train], cohort.patients.to_numpy()[train], counts)
        else:
            _fit_neighbors(head, features[train], cohort.labels[train])
        fitted = perf_counter()
        head.to(compute.device)
        with torch.inference_mode(), compute.autocast():
            logits = head.classify(torch.from_numpy(features).to(compute.device)).float().cpu()
        predicted = probabilities(logits).numpy()
    history.rows.append(
        {
            "epoch": 1,
            "train_loss": _loss(cohort, predicted, cohort.train),
            "valid_loss": _loss(cohort, predicted, cohort.valid),
            "accuracy": float(accuracy_score(cohort.labels[cohort.valid], predicted[cohort.valid].argmax(1))),
            "lr": 0.0,
            "seconds": feature_seconds + perf_counter() - started,
            "data_seconds": feature_seconds,
            "step_seconds": fitted - started,
            "valid_seconds": perf_counter() - fitted,
            "train_images": len(train),
        }
    )
    options.on_epoch(history)
    return history, meter.cost(), predicted


_features: dict[str, tuple[np.ndarray, float]] = {}


def backbone_features(body: nn.Module, pixels: StoredArray, normalizer: nn.Module, compute: Device) -> tuple[np.ndarray, float]:
    """A backbone's pooled features, computed once for the same pixels, weights and precision.

    Args:
        body: The backbone.
        pixels: (n, h, w) or (n, c, h, w) uint8.
        normalizer: Of its inputs.
        compute: Device and precision.

    Returns:
        (n, channels) float32, and the seconds that it took when they were computed.
    """
    key = _digest(body, pixels, normalizer, compute)
    if key not in _features:
        started, network = perf_counter(), nn.Sequential(body, _Pool())
        made = torch.cat(list(predict_batches(network, pixels, normalizer, compute))).numpy()
        while len(_features) >= REMEMBERED:
            del _features[next(iter(_features))]
        _features[key] = made, perf_counter() - started
    return _features[key]


class _Pool(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pooled(x)


def _digest(body: nn.Module, pixels: StoredArray, normalizer: nn.Module, compute: Device) -> str:
    """SHA-256 of all that features depend on."""
    digest = hashlib.sha256(f"{compute.device} {compute.precision} {pixels.shape} {body}".encode())
    for module in (body, normalizer):
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.cpu().numpy().tobytes())
    for start in range(0, len(pixels), 256):
        digest.update(np.array(pixels[start : start + 256]).tobytes())
    return digest.hexdigest()


def _fit_linear(
    head: LinearProbe, features: np.ndarray, labels: np.ndarray, patients: np.ndarray, weights: np.ndarray | None
) -> None:
    """Logistic regression on standardized features; the penalty has the least log loss on patients left out. Standardization is
    folded into the weights."""
    scaler = StandardScaler().fit(features, sample_weight=weights)
    scaled = scaler.transform(features)
    regression = partial(LogisticRegression, max_iter=MAX_ITERATIONS, random_state=0)
    folds = _inner_folds(labels, patients)
    losses = [_left_out_loss(regression(C=penalty), scaled, labels, weights, folds) for penalty in PENALTIES] if folds else []
    best = PENALTIES[int(np.argmin(losses))] if folds else DEFAULT_PENALTY  # too few patients to choose by
    model = regression(C=best).fit(scaled, labels, weights)
    weight = model.coef_ / scaler.scale_
    bias = model.intercept_ - weight @ scaler.mean_
    if len(weight) == 1:  # two classes: one logit, of the second
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    if head.linear.out_features == 1:  # a sigmoid's logit, of the first class
        weight, bias = weight[:1] - weight[1:], bias[:1] - bias[1:]
    with torch.no_grad():
        head.linear.weight.copy_(torch.from_numpy(weight))
        head.linear.bias.copy_(torch.from_numpy(bias))


def _inner_folds(labels: np.ndarray, patients: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit to and rows left out, of other patients; only folds whose rows to fit to have every class."""
    count = min(INNER_FOLDS, len(np.unique(patients)), int(np.bincount(labels)[np.unique(labels)].min()))
    if count < 2:
        return []
    classes = len(np.unique(labels))
    split = StratifiedGroupKFold(count).split(labels, labels, patients)
    return [(train, left_out) for train, left_out in split if len(left_out) and len(np.unique(labels[train])) == classes]


def _left_out_loss(
    model: LogisticRegression,
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    folds: list[tuple[np.ndarray, np.ndarray]],
) -> float:
    losses = []
    for train, left_out in folds:
        fitted, judged = (None, None) if weights is None else (weights[train], weights[left_out])
        predicted = model.fit(features[train], labels[train], fitted).predict_proba(features[left_out])
        losses.append(log_loss(labels[left_out], predicted, sample_weight=judged, labels=np.unique(labels)))
    return float(np.mean(losses))


def _fit_neighbors(head: NearestNeighbors, features: np.ndarray, labels: np.ndarray) -> None:
    head.allocate(len(features))
    head.features.copy_(nn.functional.normalize(torch.from_numpy(features)))
    head.classes.copy_(nn.functional.one_hot(torch.from_numpy(labels).long(), head.classes.shape[1]))


def _loss(cohort: Cohort, predicted: np.ndarray, rows: np.ndarray) -> float:
    return float(log_loss(cohort.labels[rows], predicted[rows], labels=np.arange(len(cohort.classes))))
