"""An audit of results in a notebook: of a run, of a learner, or of the predictions of any other framework."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fastai.learner import Learner

from darkcovid.audits.checks import CheckResult, RunEvidence, run_checks
from darkcovid.audits.data_audit import audit_cohort, audit_facts, audit_rows, normalizer_facts
from darkcovid.audits.findings import DataAudit, parse_data_audit
from darkcovid.audits.gradcam import gradcam_lung_overlap
from darkcovid.audits.metadata import PandasMetadata, metadata_table
from darkcovid.audits.occlusion import occlusion_metrics, occlusion_predictions
from darkcovid.core.environment import current_environment
from darkcovid.core.errors import UsageError
from darkcovid.core.io import write_text
from darkcovid.data.manifest import normalize_rows, read_manifest
from darkcovid.data.splits import patient_groups
from darkcovid.evaluation.evaluate import evaluate
from darkcovid.evaluation.results import ArmCost, ArmMetrics, ClassifierArm, Comparison, FitSummary
from darkcovid.experiment.artifacts import prediction_table
from darkcovid.experiment.finished_run import Run
from darkcovid.experiment.train_arm import summarize_fit
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.report.console import audit_lines
from darkcovid.report.html import render_report
from darkcovid.report.verdict import verdict
from darkcovid.vision.arm_inputs import InputBuilder
from darkcovid.vision.dataloaders import CXRDataLoaders
from darkcovid.vision.learner import CXRLearner

GROUPS = ("data", "shortcuts", "evaluation")  # what can be checked without a recipe
SETS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class AuditReport:
    """Whether results can be believed.

    Attributes:
        evidence: What is known of them.
        groups: Of the checks that are asked.
    """

    evidence: RunEvidence
    groups: tuple[str, ...] | None = None

    @cached_property
    def results(self) -> list[CheckResult]:
        """The checks and declarations."""
        return run_checks(self.evidence, self.groups)

    @property
    def checks(self) -> pd.DataFrame:
        """One row per check or declaration: number, group, name, status and finding."""
        rows = [(row.number, row.group, row.name, row.status, row.words) for row in self.results]
        return pd.DataFrame(rows, columns=["number", "group", "name", "status", "finding"]).set_index("number")

    @property
    def verdict(self) -> list[str]:
        """What the evidence allows a person to say, the gravest first."""
        return verdict(self.evidence, self.results)

    @property
    def data(self) -> DataAudit | None:
        """Leaks and confounders of the images."""
        return self.evidence.audit

    @property
    def metrics(self) -> dict[str, ArmMetrics]:
        """Metrics with intervals over patients, by arm."""
        return {name: arm.metrics for name, arm in self.evidence.arms.items()}

    def save(self, path: str | Path = "audit.html") -> Path:
        """Write the audit as one self-contained page.

        Args:
            path: The page.

        Returns:
            The page's path.
        """
        write_text(Path(path), render_report(self.evidence, self.results))
        return Path(path)

    def __str__(self) -> str:
        lines = [f"{row.status:<16} {row.name}: {row.words}" for row in self.results]
        return "\n".join([*self.verdict, "", *lines])

    def _repr_html_(self) -> str:
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdict)
        return sentences + self.checks.to_html()


def audit(
    results: Run | CXRLearner | pd.DataFrame | str | Path,
    cohort: pd.DataFrame | str | Path | None = None,
    shortcuts: bool = True,
) -> AuditReport:
    """Audit results: leaked patients, copies, confounders, shortcuts, calibration, subgroups.

    Args:
        results: A finished run or its folder; a learner; or predictions of any framework: a table with `image` (or `path`) and
            `probability_<class>` or a column named after each class, or the path of such a CSV.
        cohort: For predictions: a manifest or a table with the columns path, label and, where they are known, patient_id, age,
            sex, view, source. Rows without a prediction count as training images. With a column `split` (train, valid, test)
            that decides.
        shortcuts: For a learner: whether the lungs are hidden and Grad-CAM is drawn, which needs the lung U-Net.

    Returns:
        The report; of a learner and of predictions, without the checks that ask for a recipe.

    Raises:
        UsageError: Neither a run, a learner nor predictions, or `cohort` is missing or does not fit.
    """
    if isinstance(results, CXRLearner):
        return AuditReport(_evidence_of_learner(results, shortcuts), GROUPS)
    if isinstance(results, (str, Path)) and Path(results).is_dir():
        results = Run(results)
    if isinstance(results, Run):
        return AuditReport(results.evidence)
    if isinstance(results, (str, Path)):
        results = pd.read_csv(results)
    if isinstance(results, Learner):
        raise UsageError(
            "audit: a learner of CXRDataLoaders can be audited; of another give a table: dc.audit(predictions, cohort=...)"
        )
    if not isinstance(results, pd.DataFrame):
        raise UsageError(f"audit: a {type(results).__name__} is neither a run, a learner nor a table of predictions")
    if cohort is None:
        raise UsageError("audit: predictions need cohort=, a manifest or table with path, label and patient_id")
    return AuditReport(_evidence_of_predictions(results, cohort), GROUPS)


@dataclass(frozen=True, eq=False)
class DataAuditReport:
    """What a cohort gives away before anything is trained: leaked patients, copies, and confounders.

    Attributes:
        findings: Everything that was found, typed.
    """

    findings: DataAudit

    @property
    def leaks(self) -> bool:
        """Whether a patient or a copy of an image is in two sets."""
        return self.findings.leaks

    @property
    def confounders(self) -> pd.DataFrame:
        """How well the class is told by each variable alone: accuracy, majority class, Cramer's V and corrected p."""
        rows = [
            (each.variable, " / ".join(each.classes), each.accuracy, each.chance, each.cramers_v, each.corrected_p)
            for each in self.findings.most_telling
        ]
        return pd.DataFrame(rows, columns=["variable", "classes", "accuracy", "majority_class", "cramers_v", "p_holm"])

    def __str__(self) -> str:
        return "\n".join(audit_lines(self.findings))

    def _repr_html_(self) -> str:
        said = str(self).partition("\n\n")[0]
        return f"<pre>{escape(said)}</pre>" + self.confounders.to_html(index=False, float_format="{:.3f}".format)


def audit_data(cohort: CXRDataLoaders | CXRLearner | pd.DataFrame | str | Path) -> DataAuditReport:
    """Audit images before anything is trained.

    Args:
        cohort: Data loaders, or a learner's, whose images and split are looked at; or a manifest or a table with the columns
            path, label and patient_id, of which no image is needed: no split, no near copies and no pixels are looked at then.

    Returns:
        The findings.

    Raises:
        UsageError: Not a manifest, or fewer than two labels.
    """
    if isinstance(cohort, CXRLearner):
        cohort = cohort.dls
    if isinstance(cohort, CXRDataLoaders):
        return DataAuditReport(parse_data_audit(audit_cohort(cohort.cohort, cohort.cache_dir)))
    return DataAuditReport(parse_data_audit(audit_rows(_rows_of(cohort))))


def _rows_of(cohort: pd.DataFrame | str | Path) -> pd.DataFrame:
    """The rows of a table, or of a manifest, in a manifest's form."""
    return normalize_rows(cohort) if isinstance(cohort, pd.DataFrame) else read_manifest(cohort).rows


def _evidence_of_learner(learn: CXRLearner, shortcuts: bool) -> RunEvidence:
    dls, recipe = learn.dls, learn.recipe
    cohort, pixels, cache_dir = dls.cohort, dls.pixels, dls.cache_dir
    probabilities = learn.probabilities(pixels)
    metrics = evaluate(prediction_table(cohort, probabilities), list(cohort.classes))
    metrics = replace(metrics, normalizer=normalizer_facts(recipe.data.normalize, learn.normalizer, pixels, cohort.train))
    if shortcuts:
        areas = InputBuilder(recipe, cohort, dls.compute, cache_dir).lung_regions(recipe, dls.size)
        gradcam = gradcam_lung_overlap(learn.model, learn.normalizer, pixels, probabilities, areas, cohort, dls.compute)
        hidden = occlusion_metrics(occlusion_predictions(learn.probabilities, pixels, areas, cohort), cohort.classes)
        metrics = replace(metrics, audited=True, shortcuts=hidden, attention=gradcam.summary)
    findings = parse_data_audit(audit_cohort(cohort, cache_dir))
    return _evidence(recipe.name, recipe.model_dump(mode="json"), summarize_fit(cohort, learn.model), metrics, findings)


def _evidence_of_predictions(predictions: pd.DataFrame, cohort: pd.DataFrame | str | Path) -> RunEvidence:
    listed = _rows_of(cohort)
    rows = listed[listed.label != ""].reset_index(drop=True)
    table, classes = _with_probabilities(predictions, sorted(set(rows.label)))
    missing = sorted(set(table.image) - set(rows.path))
    if missing:
        raise UsageError(f"audit: {len(missing)} predicted images are not in the cohort, the first is {missing[0]}")
    unknown = sorted(set(rows.label) - set(classes))
    rows = rows[~rows.label.isin(unknown)].reset_index(drop=True)
    predicted = rows.path.isin(table.image)
    declared = "split" in rows and set(rows["split"]) <= set(SETS)
    sides = rows["split"] if declared else pd.Series(np.where(predicted, "valid", "train"))
    if not ((sides == "valid") & predicted).any():
        sides = sides.where(~predicted, "valid")
    facts = rows.assign(image=rows.path, patient=patient_groups(rows), side=sides)
    scored = facts[predicted & (sides != "train")].merge(table, on="image", validate="one_to_one")
    metrics = evaluate(scored, classes)
    findings = parse_data_audit(audit_facts(PandasMetadata(metadata_table(rows, rows.label.tolist(), sides.tolist()))))
    images = {name: int((sides == name).sum()) for name in SETS if (sides == name).any()}
    left_out = {label: int((listed.label == label).sum()) for label in unknown}
    summary = FitSummary(images=images, parameters=0, bad_images=0, excluded_by_label=left_out)
    return _evidence("predictions", {}, summary, metrics, findings)


def _with_probabilities(predictions: pd.DataFrame, labels: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """image and `probability_<class>` of each class, and the classes."""
    name = "image" if "image" in predictions else "path"
    named = [str(column).removeprefix(PROBABILITY) for column in predictions if str(column).startswith(PROBABILITY)]
    classes = named or [label for label in labels if label in predictions]
    if name not in predictions or len(classes) < 2:
        raise UsageError(
            f"audit: predictions need a column image and probability_<class> of two classes or more; they have "
            f"{', '.join(map(str, predictions.columns))}"
        )
    columns = {label: predictions[PROBABILITY + label if named else label].to_numpy(float) for label in classes}
    total = np.sum(list(columns.values()), axis=0)
    if not np.allclose(total, 1, atol=0.02):
        raise UsageError(f"audit: the probabilities of an image add up to {total[np.abs(total - 1).argmax()]:.2f}, not to 1")
    table = pd.DataFrame({PROBABILITY + label: values / total for label, values in columns.items()})
    table.insert(0, "image", predictions[name].astype(str).to_numpy())
    if table.image.duplicated().any():
        raise UsageError(f"audit: {table.image[table.image.duplicated()].iloc[0]} is predicted twice")
    return table, classes


def _evidence(name: str, recipe: Mapping[str, Any], summary: FitSummary, metrics: ArmMetrics, findings: DataAudit) -> RunEvidence:
    cost = ArmCost(
        image_size=(0, 0),
        epochs=0,
        train_seconds=0.0,
        epoch_seconds=0.0,
        train_images_per_second=0.0,
        peak_host_bytes=0,
        peak_device_bytes=0,
    )
    arms = {name: ClassifierArm(summary, metrics, cost, speedup=None)}
    return RunEvidence(dict(recipe), Comparison("", name, dict(arms)), findings, current_environment())
