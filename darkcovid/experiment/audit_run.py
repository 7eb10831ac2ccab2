"""The folder of an audit: the predictions as they were read, plots, `audit.json` and the same report that a run has."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from darkcovid.audits.checks import FAIL, PASS, WARN, CheckResult, run_checks
from darkcovid.core.errors import UsageError
from darkcovid.core.io import write_json, write_text
from darkcovid.core.slow_progress import slow_step
from darkcovid.experiment.audit_predictions import ForeignAudit
from darkcovid.experiment.label_error_files import write_label_errors
from darkcovid.experiment.run_dir import make_unique_dir
from darkcovid.report.html import write_report
from darkcovid.report.plots import plot_confusion, plot_predictions
from darkcovid.report.verdict import verdict

FailOn = Literal["never", "fail", "warn"]
OF_SCORES = ("brier", "log_loss", "ece", "calibration", "operating_points", "conformal")
OF_COST = ("epochs", "train_seconds", "epoch_seconds", "train_images_per_second", "peak_host_bytes", "peak_device_bytes",
           "speedup", "host_joules", "device_joules", "device", "precision", "data_wait_seconds", "forward_backward_seconds",
           "fits", "validation_seconds", "prepare_seconds", "segment_seconds", "audit_seconds", "prepared_in_this_run",
           "pixels_per_image", "image_size", "parameters", "initial_weights", "members", "merged_patient_ids")  # fmt: skip


@dataclass(frozen=True, eq=False)
class AuditRun:
    """A written audit.

    Attributes:
        path: Its folder.
        audit: What was found.
        checks: Their results.
    """

    path: Path
    audit: ForeignAudit
    checks: list[CheckResult]

    @property
    def verdict(self) -> list[str]:
        """What the evidence allows a person to say, the gravest first."""
        return verdict(self.audit.evidence, self.checks)

    def stops(self, fail_on: FailOn, ignored: Collection[int] = ()) -> list[CheckResult]:
        """The checks by which a CI job is to fail.

        Args:
            fail_on: never; fail: those that failed; warn: those that failed or warned.
            ignored: Numbers of checks that do not count.

        Returns:
            Their results.
        """
        grave = {"never": (), "fail": (FAIL,), "warn": (FAIL, WARN)}[fail_on]
        return [row for row in self.checks if row.status in grave and row.number not in ignored]

    def as_dict(self) -> dict[str, Any]:
        """As `darkcovid audit --json` prints it, and as `audit.json` has it."""
        evidence = self.audit.evidence
        statuses = {row.status for row in self.checks if not row.declares}
        subject = evidence.subject.as_dict() if evidence.subject else {}
        return self.audit.data.findings | {
            "run_dir": str(self.path),
            "report": str(self.path / "report.html"),
            "status": next((status for status in (FAIL, WARN) if status in statuses), PASS),
            "verdict": self.verdict,
            "checks": [
                {"number": row.number, "group": row.group, "name": row.name, "status": row.status, "finding": row.words,
                 "declaration": row.declares, "needs": row.needs}
                for row in self.checks
            ],
            "arms": {name: _arm(arm) for name, arm in self._arms().items()},
            "label_errors": _label_errors(self.path),
            "pairs": [asdict(pair) for pair in evidence.comparison.pairs],
            **{key: subject.get(key, {}) for key in ("files", "notes", "left_out")},
        }  # fmt: skip

    def _arms(self) -> dict[str, dict[str, Any]]:
        return _arm_jsons(self.audit)


def write_audit(
    audit: ForeignAudit, runs_dir: Path, images: bool = True, draw: Callable[[str, Path], None] = lambda arm, folder: None
) -> AuditRun:
    """Write an audit's folder: `audit.json`, `comparison.json`, `subject.json`, `environment.json`, `report.html`, labels that
    may be wrong, and for each arm `predictions.csv`, `metrics.json` and `plots/`.

    Args:
        audit: What was found.
        runs_dir: Where the folder is made.
        images: Whether radiographs are shown in the report.
        draw: Called with each arm and its folder, to add what else is known of it.

    Returns:
        The folder and the results of the checks.

    Raises:
        UsageError: It cannot be made there.
    """
    path = _folder(runs_dir, audit)
    evidence = audit.evidence
    arms = _arm_jsons(audit)
    for name, table in audit.predictions.items():
        folder = path / name
        folder.mkdir()
        write_text(folder / "predictions.csv", table.to_csv(index=False))
        write_json(folder / "metrics.json", arms[name])
        metrics, classes = evidence.arms[name].metrics, evidence.arms[name].summary.classes
        if metrics.labels_only:
            plot_confusion(np.array(metrics.headline.confusion_matrix), classes, folder / "plots" / "confusion_matrix.png")
        else:
            plot_predictions(table, metrics, classes, folder / "plots")
        draw(name, folder)
    comparison = evidence.comparison
    write_json(
        path / "comparison.json",
        {
            "run_dir": str(path),
            "reference_arm": comparison.reference_arm,
            "arms": arms,
            "pairs": [asdict(pair) for pair in comparison.pairs],
        },
    )
    write_json(path / "environment.json", evidence.environment.as_dict())
    if evidence.subject:
        write_json(path / "subject.json", evidence.subject.as_dict())
    if not any(arm.metrics.labels_only for arm in evidence.arms.values()):
        write_label_errors(path, comparison, audit.data.files if images else {})
    run = AuditRun(path, audit, run_checks(evidence))
    write_json(path / "audit.json", run.as_dict())
    with slow_step("writing the report"):
        write_report(path, images)
    return run


def _label_errors(path: Path) -> dict[str, Any] | None:
    """What `label_errors.json` holds; None where labels could not be judged."""
    file = path / "label_errors.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _arm_jsons(audit: ForeignAudit) -> dict[str, dict[str, Any]]:
    return {
        name: arm.summary.as_dict() | arm.metrics.as_dict() | arm.cost.as_dict() | {"speedup": None}
        for name, arm in audit.evidence.arms.items()
    }


def _arm(arm: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an arm that somebody else made: no cost, and of labels alone nothing that needs scores."""
    hidden = {*OF_COST, *(OF_SCORES if arm.get("labels_only") else ())}
    parts = {key: _arm(value) if key == "test" else value for key, value in arm.items() if key not in hidden}
    return parts | ({"labels_only": True} if arm.get("labels_only") else {})


def _folder(runs_dir: Path, audit: ForeignAudit) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    name = re.sub(r"[^\w.-]+", "_", audit.evidence.name)[:60]
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        return make_unique_dir(runs_dir, f"audit-{name}-{stamp}")
    except OSError as error:
        raise UsageError(f"--runs-dir {runs_dir}: cannot make a folder there ({error.strerror})") from None
