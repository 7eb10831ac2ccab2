"""A finished run in a notebook: its tables, plots, report, learners and predictions, all read from the run folder."""

from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from darkcovid.audits.checks import CheckResult, RunEvidence, run_checks
from darkcovid.audits.findings import DataAudit
from darkcovid.core.errors import UsageError
from darkcovid.data.loaders import restart_loaders
from darkcovid.evaluation.results import ArmMetrics, ClassifierArm, Comparison, MaskMetrics, parse_comparison
from darkcovid.experiment.compare import compare_runs
from darkcovid.inference.load import load_fitted
from darkcovid.models.probes import NearestNeighbors
from darkcovid.recipe import Recipe, load_recipe
from darkcovid.report.html import read_evidence, write_report
from darkcovid.report.tables import comparison_notes, comparison_rows, notice
from darkcovid.report.verdict import verdict
from darkcovid.vision.dataloaders import CXRDataLoaders
from darkcovid.vision.learner import CXRLearner, cxr_learner
from darkcovid.vision.predictor import Predictor


class ComparisonTable:
    """Arms side by side.

    Attributes:
        comparison: Everything that is known of them, typed.
    """

    def __init__(self, comparison: Comparison):
        self.comparison = comparison

    @property
    def arms(self) -> list[str]:
        """Their names."""
        return list(self.comparison.arms)

    @property
    def table(self) -> pd.DataFrame:
        """One row per arm: accuracy with its 95 % interval, balanced accuracy, AUROC, seconds, speed-up, memory, size."""
        return pd.DataFrame({name: _figures(arm) for name, arm in self.comparison.arms.items()}).T.infer_objects()

    @property
    def metrics(self) -> dict[str, ArmMetrics | MaskMetrics]:
        """Everything that was measured of each arm's predictions."""
        return {name: arm.metrics for name, arm in self.comparison.arms.items()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.comparison.run_dir})\n{self.table.to_string()}"

    def _repr_html_(self) -> str:
        rows = comparison_rows(self.comparison)
        text = pd.DataFrame([texts for _, texts in rows], index=[label.strip() for label, _ in rows], columns=self.arms)
        runs = [f"{number}: {run}" for number, run in self.comparison.runs.items()]
        pairs = [pair.sentence for pair in self.comparison.pairs]
        sentences = [*runs, *comparison_notes(self.comparison), *pairs, notice(self.comparison)]
        return text.to_html() + "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


class Run(ComparisonTable):
    """A finished run's folder.

    Args:
        path: Of the folder.

    Raises:
        UsageError: Not a finished run.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.evidence: RunEvidence = read_evidence(self.path)
        super().__init__(self.evidence.comparison)

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return load_recipe(self.path / "recipe.yaml")

    @property
    def predictions(self) -> pd.DataFrame:
        """Every prediction of every arm: arm, image, patient, side (the set), label, predicted and probabilities."""
        return self._tables("predictions.csv")

    @property
    def history(self) -> pd.DataFrame:
        """Every epoch of every fit: arm, fit, epoch, losses, accuracy, rate and seconds."""
        tables = []
        for arm in self.arms:
            for file in sorted((self.path / arm).rglob("history.csv")):
                fit = file.parent.relative_to(self.path / arm).as_posix()
                tables.append(pd.read_csv(file).assign(arm=arm, fit="" if fit == "." else fit))
        table = pd.concat(tables, ignore_index=True)
        return table[["arm", "fit", *(column for column in table if column not in ("arm", "fit"))]]

    @property
    def audit(self) -> DataAudit | None:
        """Leaks and confounders of the images; None where the recipe says `audit: none`."""
        return self.evidence.audit

    @cached_property
    def checks(self) -> list[CheckResult]:
        """The checks and declarations of the report."""
        return run_checks(self.evidence)

    @property
    def verdict(self) -> list[str]:
        """What the evidence allows a person to say."""
        return verdict(self.evidence, self.checks)

    def report(self, images: bool = True) -> Path:
        """Write the report again.

        Args:
            images: Whether radiographs are shown in it.

        Returns:
            The page: `report.html` in the run's folder.

        Raises:
            UsageError: A run of lung segmenters.
        """
        return write_report(self.path, images)

    def learner(self, arm: str | None = None, cache_dir: str | Path | None = None) -> CXRLearner:
        """A fastai learner with the weights of an arm's first fit, and its data.

        Args:
            arm: Its name; None: the first.
            cache_dir: Where decoded images are kept; None: the user's cache.

        Returns:
            The learner.

        Raises:
            UsageError: No such arm, an ensemble, or its images are not found.
            DataError: Its weights are missing or damaged.
        """
        name = self._arm(arm)
        if name in self.recipe.ensemble:
            raise UsageError(f"arm {name!r}: an ensemble; name one of its arms: {', '.join(self.recipe.ensemble[name])}")
        dls = CXRDataLoaders.from_recipe(self.recipe, name, cache_dir=cache_dir)
        fit, first = next(iter(self.recipe.arm_recipes()[name].fits().items()))
        fitted = load_fitted(fit.folder(self.path / name))
        model = first.model.model_dump(mode="json", exclude={"arch", "weights"})
        learn = cxr_learner(dls, first.model.arch, model=model)
        head = getattr(fitted.network, "head", None)
        if isinstance(head, NearestNeighbors):
            learn.model.get_submodule("head").allocate(len(head.features))
        learn.model.load_state_dict(fitted.network.state_dict())
        learn.normalizer = fitted.normalizer  # of the images of then
        restart_loaders(dls, learn.normalizer, dls.compute.device)
        return learn

    def predictor(self, arm: str | None = None, device: str = "auto") -> Predictor:
        """What predicts other images by an arm.

        Args:
            arm: Its name; None: the one with the best balanced accuracy on the validation set.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Returns:
            The predictor.

        Raises:
            UsageError: No such arm, or it is no classifier.
            DataError: Its weights are missing or damaged.
        """
        return Predictor(self.path, arm, device)

    def explain(self, image: Any, arm: str | None = None, ax: Any = None) -> Any:
        """Draw an image under an arm's Grad-CAM heatmap.

        Args:
            image: A path, a PIL image or an array.
            arm: As in `predictor`.
            ax: matplotlib's axes; None: new ones.

        Returns:
            The axes.

        Raises:
            UsageError, DataError: As `predictor` does, or the image cannot be read.
        """
        return self.predictor(arm).explain(image, ax)

    def plot_history(self, column: str = "valid_loss", ax: Any = None) -> Any:
        """Draw a column of `history` by epoch, one line per fit.

        Args:
            column: Its name, such as `valid_loss` or `accuracy`.
            ax: matplotlib's axes; None: new ones.

        Returns:
            The axes.

        Raises:
            UsageError: No such column.
        """
        history = self.history
        if column not in history:
            raise UsageError(f"plot_history: no column {column!r}; there are {', '.join(history.columns[2:])}")
        axes = plt.subplots()[1] if ax is None else ax
        for (arm, fit), rows in history.groupby(["arm", "fit"], sort=False):
            axes.plot(rows.epoch, rows[column], label=f"{arm}/{fit}" if fit else arm)
        axes.set(xlabel="epoch", ylabel=column.replace("_", " "))
        axes.legend()
        return axes

    def plot_confusion_matrix(self, arm: str | None = None, ax: Any = None) -> Any:
        """Draw the confusion matrix of an arm's headline set, counts of images.

        Args:
            arm: Its name; None: the first.
            ax: matplotlib's axes; None: new ones.

        Returns:
            The axes.

        Raises:
            UsageError: No such arm, or it is no classifier.
        """
        scored = self._classifier(arm).metrics.headline
        names, counts = list(scored.per_class), np.array(scored.confusion_matrix)
        axes = plt.subplots()[1] if ax is None else ax
        axes.imshow(counts, cmap="Blues")
        for row, column in np.ndindex(counts.shape):
            color = "white" if counts[row, column] > counts.max() / 2 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color)
        places = range(len(names))
        axes.set(xlabel="predicted", ylabel="true", xticks=places, yticks=places, xticklabels=names, yticklabels=names)
        return axes

    def plot_comparison(self, ax: Any = None) -> Any:
        """Draw each arm's accuracy, with its 95 % interval, against its training minutes.

        Args:
            ax: matplotlib's axes; None: new ones.

        Returns:
            The axes.
        """
        axes = plt.subplots()[1] if ax is None else ax
        for name, arm in self.comparison.arms.items():
            if isinstance(arm, ClassifierArm):
                scored, minutes = arm.metrics.headline, arm.cost.train_seconds / 60
                low, high = scored.interval("accuracy")
                below_above = [[scored.accuracy - low], [high - scored.accuracy]]
                axes.errorbar([minutes], [scored.accuracy], below_above, fmt="o", label=name)
        axes.set(xlabel="training, minutes", ylabel="accuracy, 95 % interval over patients")
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        if not self.evidence.arms:
            return super()._repr_html_()
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdict[:2])
        return sentences + super()._repr_html_()

    def _arm(self, arm: str | None) -> str:
        if arm is not None and arm not in self.arms:
            raise UsageError(f"arm {arm!r}: the run has no such arm; it has: {', '.join(self.arms)}")
        return self.arms[0] if arm is None else arm

    def _classifier(self, arm: str | None) -> ClassifierArm:
        chosen = self.comparison.arms[self._arm(arm)]
        if not isinstance(chosen, ClassifierArm):
            raise UsageError(f"arm {self._arm(arm)!r}: a lung segmenter; this is drawn of classifiers")
        return chosen

    def _tables(self, file: str) -> pd.DataFrame:
        text = {"image": str, "patient": str}
        tables = [pd.read_csv(self.path / arm / file, dtype=text, keep_default_na=False).assign(arm=arm) for arm in self.arms]
        table = pd.concat(tables, ignore_index=True)
        return table[["arm", *(column for column in table if column != "arm")]]


def _figures(arm: Any) -> dict[str, Any]:
    """An arm's row of `ComparisonTable.table`."""
    cost = arm.cost
    if isinstance(arm, ClassifierArm):
        scored = arm.metrics.headline
        low, high = scored.interval("accuracy")
        figures = {
            "accuracy": scored.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "balanced_accuracy": scored.balanced_accuracy,
            "roc_auc": scored.macro["roc_auc"],
        }
    else:
        figures = {"dice": arm.metrics.dice.mean, "dice_p5": arm.metrics.dice.p5}
    return figures | {
        "epochs": cost.epochs,
        "train_seconds": cost.train_seconds,
        "epoch_seconds": cost.epoch_seconds,
        "images_per_second": cost.train_images_per_second,
        "speedup": arm.speedup,
        "peak_host_bytes": cost.peak_host_bytes,
        "peak_device_bytes": cost.peak_device_bytes,
        "parameters": arm.summary.parameters,
        "image_size": cost.image_size,
    }


def open_run(path: str | Path) -> Run:
    """A finished run.

    Args:
        path: Its folder.

    Returns:
        The run.

    Raises:
        UsageError: Not a finished run's folder.
    """
    return Run(Path(path).expanduser())


def compare(*runs: Run | str | Path, force: bool = False) -> ComparisonTable:
    """The arms of several runs side by side, with paired tests of arms of the same name, else against the first arm.

    Args:
        *runs: Runs, or their folders.
        force: Whether arms with different validation sets are shown all the same.

    Returns:
        The arms.

    Raises:
        UsageError: Validation sets differ, and `force` is not given; or a run is unfinished.
    """
    paths = [run.path if isinstance(run, Run) else Path(run).expanduser() for run in runs]
    return ComparisonTable(parse_comparison(compare_runs(paths, force)))
