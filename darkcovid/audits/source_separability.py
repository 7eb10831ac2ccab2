"""Does a network's view of an image tell where it comes from, among images of one class?

The balanced accuracy of a linear classifier of the source on the network's features, cross-validated over patients within each
class. At chance, nothing that the network passes on differs between sources; a remedy against shortcuts should bring it down.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from darkcovid.evaluation.results import SourceSeparability
from darkcovid.metrics.cross_fitting import Names

MIN_PATIENTS, FOLDS, MAX_IMAGES = 10, 5, 500


def source_separability(features: np.ndarray, labels: np.ndarray, sources: Names, patients: Names) -> SourceSeparability | None:
    """How well the source is told by a network's features, class by class.

    Args:
        features: (n, c) float, of images that the network was not trained on.
        labels: (n,) classes.
        sources: (n,) names.
        patients: (n,) names.

    Returns:
        Means over the classes that at least two sources of ten patients have; None where there is no such class, or features are
        not finite.
    """
    sources, patients = np.asarray(sources), np.asarray(patients)
    if not np.isfinite(features).all():
        return None
    accuracies, chances = [], []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        known = [name for name in np.unique(sources[rows]) if len(set(patients[rows[sources[rows] == name]])) >= MIN_PATIENTS]
        rows = np.concatenate([rows[sources[rows] == name][:MAX_IMAGES] for name in known]) if len(known) > 1 else rows[:0]
        if len(rows):
            model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
            folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
            told = cross_val_predict(model, features[rows], sources[rows], groups=patients[rows], cv=folds)
            accuracies.append(balanced_accuracy_score(sources[rows], told))
            chances.append(1 / len(known))
    if not accuracies:
        return None
    return SourceSeparability(float(np.mean(accuracies)), float(np.mean(chances)))
