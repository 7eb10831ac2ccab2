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

from darkcovid.audits.checks import NOT_RUN, CheckResult, RunEvidence, run_checks
from darkcovid.audits.data_audit import audit_cohort, audit_rows, normalizer_facts
from darkcovid.audits.findings import DataAudit, parse_data_audit
from darkcovid.audits.gradcam import gradcam_lung_overlap
from darkcovid.audits.occlusion import occlusion_metrics, occlusion_predictions
from darkcovid.core.device import get_device
from darkcovid.core.environment import current_environment
from darkcovid.core.errors import UsageError
from darkcovid.core.io import user_cache_dir, write_text
from darkcovid.data.manifest import Manifest, normalize_rows, read_manifest
from darkcovid.data.predictions.class_names import plain_number
from darkcovid.data.predictions.join import JoinRule
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.scores import Scores
from darkcovid.data.predictions.table import TextTable, read_text_table, table_of_frame
from darkcovid.data.predictions.training_list import TrainingList, read_training_list
from darkcovid.evaluation.evaluate import evaluate
from darkcovid.evaluation.results import ArmMetrics, ClassifierArm, Comparison
from darkcovid.experiment.artifacts import prediction_table
from darkcovid.experiment.audit_learner import LearnerModel
from darkcovid.experiment.audit_model import audit_model
from darkcovid.experiment.audit_predictions import NO_COST, ForeignAudit, audit_predictions
from darkcovid.experiment.finished_run import Run
from darkcovid.experiment.train_arm import summarize_fit
from darkcovid.report.console import audit_lines
from darkcovid.report.guideline_files import write_guideline
from darkcovid.report.html import render_report
from darkcovid.report.verdict import verdict
from darkcovid.vision.arm_inputs import InputBuilder
from darkcovid.vision.dataloaders import CXRDataLoaders
from darkcovid.vision.learner import CXRLearner

WITHOUT_RECIPE = "asks for the recipe of a run, which a learner does not have"
GROUPS = ("data", "shortcuts", "evaluation")  # what can be checked without a recipe


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

    def save_sheet(self, name: str = "claim", path: str | Path | None = None) -> Path:
        """Write a reporting guideline, filled in as far as the audit answers it, as `darkcovid report --sheet` does.

        Args:
            name: `claim`, `tripod-ai` or `probast-ai`.
            path: A Markdown file, or a Word document where it ends with `.docx`; None: `NAME.md`.

        Returns:
            The file's path.

        Raises:
            UsageError: No such guideline.
            DarkCovidError: python-docx is not installed.
        """
        asked, unasked = {row.number for row in self.results}, {"status": NOT_RUN, "words": WITHOUT_RECIPE}
        checks = [row if row.number in asked else replace(row, **unasked) for row in run_checks(self.evidence)]
        file = Path(path or f"{name}.md")
        write_guideline(self.evidence, checks, name, file)
        return file

    def __str__(self) -> str:
        lines = [f"{row.status:<16} {row.name}: {row.words}" for row in self.results]
        return "\n".join([*self.verdict, "", *lines])

    def _repr_html_(self) -> str:
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdict)
        return sentences + self.checks.to_html()


def audit(
    results: Run | Learner | pd.DataFrame | Mapping[str, pd.DataFrame] | str | Path,
    cohort: pd.DataFrame | str | Path | None = None,
    shortcuts: bool = True,
    train: str | Path | None = None,
    classes: Mapping[Any, str] | None = None,
    positive: str = "",
    scores: Scores = "auto",
) -> AuditReport:
    """Audit results: leaked patients, copies, confounders, shortcuts, calibration, subgroups.

    Args:
        results: A finished run or its folder; a learner, of any DataLoaders of images; or predictions of any framework: a table
            with the images' names and a column per class, of which `darkcovid audit --predictions` reads the same forms; the path
            of such a CSV; or several tables by name, which are compared.
        cohort: For predictions, and for a learner of other DataLoaders than ours: a manifest or a table with the columns path,
            label and, where they are known, patient_id, age, sex, view, source. Of predictions, rows without one count as
            training images; of a learner, the items of its training set. With a column `split` (train, valid, test) that decides.
        shortcuts: For a learner: whether the lungs are hidden and Grad-CAM is drawn, which needs the lung U-Net.
        train: For predictions: a CSV that lists the training images, in place of those of the cohort without a prediction.
        classes: For predictions: the class that a label, a number or a column's name means.
        positive: For predictions of one column: its class.
        scores: For predictions: what the numbers are.

    Returns:
        The report; of a learner of CXRDataLoaders, without the checks that ask for a recipe.

    Raises:
        UsageError: Neither a run, a learner nor predictions, or `cohort` is missing or does not fit.
        DataError: Predictions that cannot be read.
    """
    if isinstance(results, CXRLearner):
        return AuditReport(_evidence_of_learner(results, shortcuts), GROUPS)
    if isinstance(results, (str, Path)) and Path(results).is_dir():
        results = Run(results)
    if isinstance(results, Run):
        return AuditReport(results.evidence)
    if isinstance(results, Learner):
        if cohort is None:
            raise UsageError(
                "audit: a learner of other DataLoaders than CXRDataLoaders needs cohort=, a manifest or table of its images"
            )
        return AuditReport(_evidence_of_any_learner(results, cohort, shortcuts, train, classes or {}))
    if isinstance(results, (str, Path)):
        tables = {Path(results).stem: read_text_table(results)}
    elif isinstance(results, Mapping):
        tables = {str(name): table_of_frame(table, str(name)) for name, table in results.items()}
    elif isinstance(results, pd.DataFrame):
        tables = {"predictions": table_of_frame(results)}
    else:
        raise UsageError(f"audit: a {type(results).__name__} is neither a run, a learner nor a table of predictions")
    if cohort is None:
        raise UsageError("audit: predictions need cohort=, a manifest or table with path, label and patient_id")
    names = {plain_number(str(label)): name for label, name in (classes or {}).items()}
    options = PredictionOptions(class_names=names, positive=positive, scores=scores)
    return AuditReport(_foreign(tables, cohort, train, options).evidence)


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
    arms = {recipe.name: ClassifierArm(summarize_fit(cohort, learn.model), metrics, NO_COST, speedup=None)}
    comparison = Comparison("", recipe.name, dict(arms))
    return RunEvidence(recipe.model_dump(mode="json"), comparison, findings, current_environment())


def _evidence_of_any_learner(
    learn: Learner, cohort: pd.DataFrame | str | Path, shortcuts: bool, train: str | Path | None, classes: Mapping[Any, str]
) -> RunEvidence:
    """Of a Learner of any DataLoaders: the cohort's images that are not items of its training set are scored."""
    asked = LearnerModel(learn)
    if isinstance(cohort, pd.DataFrame):
        manifest = Manifest(_rows_of(cohort).reset_index(drop=True), (Path.cwd(), Path(learn.path)))
    else:
        manifest = read_manifest(cohort)
    trained = asked.trained(manifest)
    if train is not None:
        listed = read_training_list(train, manifest, JoinRule())
    elif trained is None:
        raise UsageError("audit: the learner's items are no files, so which images it was trained on is not known; give train=")
    else:
        note = f"{int(trained.sum())} images of the cohort are items of the learner's training set"
        rows = manifest.rows[trained].reset_index(drop=True)
        listed = TrainingList(rows, np.flatnonzero(trained), Path.cwd(), (note,)) if trained.any() else None
    explain = asked.explain if asked.has_convolutions else None
    options = PredictionOptions(class_names={str(label): name for label, name in classes.items()}, scores="probabilities")
    compute = get_device("auto", "fp32")
    found = audit_model(
        asked,
        "learner",
        asked.policy,
        manifest,
        options,
        compute,
        user_cache_dir(),
        listed,
        shortcuts,
        score_files=asked.score_files,
        explain=explain,
    )
    return found.audit.evidence


def _foreign(
    tables: Mapping[str, TextTable], cohort: pd.DataFrame | str | Path, train: str | Path | None, options: PredictionOptions
) -> ForeignAudit:
    """The audit of predictions: images of the cohort without one were trained on, unless `train` lists those that were."""
    if isinstance(cohort, pd.DataFrame):
        manifest, cache_dir = Manifest(_rows_of(cohort).reset_index(drop=True), ()), None
    else:
        manifest, cache_dir = read_manifest(cohort), user_cache_dir()
    listed = None if train is None else read_training_list(train, manifest, options.rule)
    return audit_predictions(tables, manifest, options, listed, cache_dir, rest_is_training=listed is None)
