"""What a list of runs shows of a finished one: a small `summary.json`, so that a thousand runs are listed at once."""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from darkcovid.core.io import read_regular_text, write_json
from darkcovid.experiment.run_state import AUDIT_FILE, read_json_mapping
from darkcovid.recipe import AUDIT

FILE = "summary.json"
METRICS = ("accuracy", "balanced_accuracy", "kappa", "mcc", "brier", "log_loss", "ece")
COSTS = ("train_seconds", "epoch_seconds", "parameters", "peak_host_bytes", "peak_device_bytes")


@dataclass(frozen=True, slots=True)
class ScoredImages:
    """The images that an arm's metrics are of.

    Attributes:
        set: `test` where there is a test set, else `valid`.
        images: How many, each counted once.
        patients: Likewise.
        digest: Of all images, patients and labels: equal where two arms were scored on the same.
    """

    set: str
    images: int
    patients: int
    digest: str


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """One arm of a finished run.

    Attributes:
        metrics: By name: `accuracy`, means over classes such as `roc_auc`, `covid.recall`, costs; of a segmenter
            `dice` and others.
        intervals: 95 % intervals by metric.
        scored: What the metrics are of; None where that is not known.
        external: AUROC, mean of classes, by the name of each external set and each source that was held out.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    scored: ScoredImages | None = None
    external: dict[str, float] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The name of the metric that a list shows."""
        return "dice" if "dice" in self.metrics else "accuracy"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """arms: by name, those of an audit left out; minutes: of training, over all arms; verdict: its first sentence; facts: more,
    such as of a sweep."""

    arms: dict[str, ArmSummary]
    minutes: float | None = None
    verdict: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def summarize_comparison(comparison: Mapping[str, Any], verdict: str = "") -> RunSummary:
    """What a list needs of a `comparison.json`.

    Args:
        comparison: Its JSON.
        verdict: The first sentence of the run's verdict.

    Returns:
        The summary, without what its arms were scored on.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is not a comparison.
    """
    arms = comparison["arms"]
    minutes = sum(float(arm["train_seconds"]) for arm in arms.values()) / 60
    own = {str(name): _summarize_arm(arm) for name, arm in arms.items() if not str(name).startswith(AUDIT)}
    return RunSummary(own, minutes, verdict)


def write_run_summary(run: Path, comparison: Mapping[str, Any], verdict: str) -> None:
    """Write `summary.json` into a finished run's folder.

    Args:
        run: The folder.
        comparison: Its `comparison.json`.
        verdict: The first sentence of its verdict; '' where there is none.
    """
    summary = summarize_comparison(comparison, verdict)
    arms = {name: asdict(arm) | {"scored": asdict(read_scored_images(run / name))} for name, arm in summary.arms.items()}
    write_json(run / FILE, asdict(summary) | {"arms": arms})


def read_run_summary(run: Path) -> RunSummary:
    """A finished run's summary: its `summary.json`, or of a run of an earlier version what `comparison.json` says.

    Args:
        run: The run's folder.

    Returns:
        The summary.

    Raises:
        OSError: There is neither.
        ValueError, KeyError, TypeError, AttributeError: It is damaged.
    """
    try:
        json_ = read_json_mapping(run / FILE)
    except FileNotFoundError:
        return summarize_comparison(read_json_mapping(run / "comparison.json"))
    arms = {name: _parse_arm(arm) for name, arm in json_["arms"].items()}
    minutes = None if json_["minutes"] is None else float(json_["minutes"])
    return RunSummary(arms, minutes, str(json_["verdict"]), dict(json_["facts"]))


def run_verdict(run: Path) -> str:
    """The first sentence of a finished run's verdict; '' where there is none, or the summary is damaged."""
    try:
        return read_run_summary(run).verdict
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def read_audit_summary(audit: Path) -> RunSummary:
    """The summary of an audit of predictions or of a model made elsewhere: no cost is known of it.

    Args:
        audit: The audit's folder.

    Returns:
        The summary.

    Raises:
        OSError: A file is missing.
        ValueError, KeyError, TypeError, AttributeError, IndexError: It is damaged.
    """
    verdict = str(read_json_mapping(audit / AUDIT_FILE)["verdict"][0])
    arms = {}
    for name, json_ in read_json_mapping(audit / "comparison.json")["arms"].items():
        arm = _summarize_arm(json_)
        arms[str(name)] = replace(arm, metrics={key: value for key, value in arm.metrics.items() if key not in COSTS})
    return RunSummary(arms, None, verdict)


def read_scored_images(arm: Path) -> ScoredImages:
    """The images that a finished arm's metrics are of, by its `split.csv`.

    Args:
        arm: The arm's folder.

    Returns:
        The images.

    Raises:
        OSError: The file is missing.
        ValueError, KeyError: It is not such a file.
    """
    rows = list(csv.DictReader(read_regular_text(arm / "split.csv").splitlines()))
    chosen = "test" if any(row["side"] == "test" for row in rows) else "valid"
    scored = sorted({(row["image"], row["patient"], row["label"]) for row in rows if row["side"] == chosen})
    digest = hashlib.sha256(json.dumps([chosen, scored]).encode()).hexdigest()[:16]
    return ScoredImages(chosen, len(scored), len({patient for _, patient, _ in scored}), digest)


def _summarize_arm(arm: Mapping[str, Any]) -> ArmSummary:
    costs = {name: arm[name] for name in COSTS if _is_number(arm.get(name))}
    if "dice" in arm:
        spreads = {name: arm[name]["mean"] for name in ("dice", "iou", "lung_kept")}
        return ArmSummary({**spreads, "dice.p5": arm["dice"]["p5"], **costs})
    headline = arm.get("test") or arm
    metrics = {name: headline[name] for name in METRICS if _is_number(headline.get(name))}
    metrics |= {name: value for name, value in headline["macro"].items() if _is_number(value)}
    for label, of_class in headline["per_class"].items():
        metrics |= {f"{label}.{name}": value for name, value in of_class.items() if name != "support" and _is_number(value)}
    intervals = {name: (float(ends[0]), float(ends[1])) for name, ends in headline.get("intervals", {}).items() if ends}
    elsewhere = {**(arm.get("sources") or {}), **(arm.get("external") or {})}
    external = {str(name): of_set.get("macro", {}).get("roc_auc") for name, of_set in elsewhere.items()}
    external = {name: float(value) for name, value in external.items() if _is_number(value)}
    return ArmSummary({name: float(value) for name, value in metrics.items()} | costs, intervals, external=external)


def _parse_arm(json_: Mapping[str, Any]) -> ArmSummary:
    intervals = {name: (float(low), float(high)) for name, (low, high) in json_["intervals"].items()}
    metrics = {name: float(value) for name, value in json_["metrics"].items()}
    external = {str(name): float(value) for name, value in json_.get("external", {}).items()}
    return ArmSummary(metrics, intervals, ScoredImages(**json_["scored"]) if json_["scored"] else None, external)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
