"""One self-contained page of a run: verdict, figures, audits, checklist and model card, all read from the run folder."""

import json
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from darkcovid.audits.checks import AUTHOR, FAIL, NOT_RUN, PASS, STATED, WARN, CheckResult, RunEvidence, run_checks
from darkcovid.audits.findings import DataAudit, parse_data_audit
from darkcovid.audits.reporting_guideline import dataset_names, reporting_sheet
from darkcovid.audits.subject import parse_subject
from darkcovid.core.environment import parse_environment
from darkcovid.core.errors import UsageError, one_line
from darkcovid.core.io import write_text
from darkcovid.evaluation.results import VIEWS, ArmMetrics, SegmenterArm, SetMetrics, parse_comparison
from darkcovid.metrics.confidence_intervals import Interval
from darkcovid.metrics.p_values import p_text
from darkcovid.recipe import AUDIT
from darkcovid.recipe.deprecated import deprecated, modernize
from darkcovid.report.arm_charts import arm_charts, cost_chart
from darkcovid.report.image_browser import image_browser
from darkcovid.report.pictures import PLOTS, galleries, picture
from darkcovid.report.several_explanations import explained_arms
from darkcovid.report.tables import GAP, comparison_rows, notice
from darkcovid.report.verdict import verdict

CLASSES = {PASS: "pass", WARN: "warn", FAIL: "fail", AUTHOR: "author", NOT_RUN: "none", STATED: "none"}
FIGURES = ("precision", "recall", "specificity", "f1", "roc_auc")
PAGE_LETTERS = 100  # that fit beside each other on a page of 1100 px


def write_report(run: Path, images: bool = True) -> Path:
    """Write `report.html` into a finished run's folder.

    Args:
        run: The run's folder.
        images: Whether radiographs are shown in it.

    Returns:
        The page's path.

    Raises:
        UsageError: Not a finished run of classifiers.
    """
    evidence = read_evidence(run)
    if any(isinstance(arm, SegmenterArm) for arm in evidence.comparison.arms.values()):
        raise UsageError(f"{run}: a report is made of classifiers, not of lung segmenters")
    write_text(run / "report.html", render_report(evidence, run_checks(evidence), run, images))
    return run / "report.html"


def render_report(evidence: RunEvidence, checks: list[CheckResult], run: Path | None = None, images: bool = False) -> str:
    """The page of a run, or of an audit of a learner or of predictions.

    Args:
        evidence: What is known of it.
        checks: Results of the checks of it.
        run: The run's folder, with its plots; None: there is none.
        images: Whether radiographs are shown.

    Returns:
        HTML.
    """
    template = Environment(loader=PackageLoader("darkcovid.report"), autoescape=True, undefined=StrictUndefined).get_template(
        "report.html.j2"
    )
    return template.render(**_template_context(run, evidence, checks, images))


def read_evidence(run: Path) -> RunEvidence:
    """A finished run's files.

    Raises:
        UsageError: One is missing or damaged.
    """
    try:
        subject, audit = run / "subject.json", run / "audit.json"
        foreign = parse_subject(json.loads(subject.read_text(encoding="utf-8"))) if subject.is_file() else None
        recipe = {}
        if foreign is None:
            recipe = modernize(yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")), deprecated)
        comparison = parse_comparison(json.loads((run / "comparison.json").read_text()))
        environment = parse_environment(json.loads((run / "environment.json").read_text()))
        return RunEvidence(
            recipe, comparison, parse_data_audit(json.loads(audit.read_text())) if audit.is_file() else None, environment, foreign
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UsageError(f"{run}: not a finished run ({one_line(error)}); name a folder that `darkcovid run` made") from None


def _template_context(run: Path | None, evidence: RunEvidence, checks: list[CheckResult], images: bool) -> dict[str, Any]:
    audit = evidence.audit
    browser = image_browser(run, evidence) if run and images else None
    own, others = _arm_tables(evidence)
    return {
        "name": evidence.name,
        "subject": evidence.subject,
        "not_run": [row for row in checks if row.needs],
        "reported_results": evidence.recipe.get("reported_results"),
        "run": "" if run is None else run.name,
        "verdict": verdict(evidence, checks),
        "counts": [(status, sum(row.status == status for row in checks if not row.declares)) for status in CLASSES],
        "counted": sum(not row.declares for row in checks),
        "notice": notice(evidence.comparison),
        "classes_of": CLASSES,
        "checks": checks,
        "leaks": _leaks(audit, evidence),
        "cost_chart": None if evidence.subject else cost_chart(evidence),
        "arm_tables": own,
        "audit_tables": others,
        "pairs": evidence.comparison.pairs,
        "figures": [name.replace("_", " ") for name in FIGURES],
        "scored": [_arm_context(run and run / name, name, evidence.arms[name].metrics) for name in evidence.scored],
        "prevalences": ["1 %", "5 %", "20 %"],
        "elsewhere": _external_context(evidence),
        "refusals": [] if evidence.subject else _refusal_rows(evidence),
        "confounders": _confounders(audit),
        "shortcuts": _shortcuts(evidence),
        "label_errors": _label_errors(run, images) if run else None,
        "browser": browser,
        "explained": explained_arms(run, evidence, images) if run else [],
        "galleries": galleries(run, evidence, ("gradcam",) if browser and browser.any_heat else ()) if run and images else [],
        "sheet": reporting_sheet(evidence),
        "trained_on": "" if evidence.subject else _trained_on(evidence),
        "command": " ".join(evidence.environment.command),
        "environment": [(name.replace("_", " "), str(value)) for name, value in evidence.environment.facts().items()],
        "recipe": yaml.safe_dump(evidence.recipe, sort_keys=False, allow_unicode=True) if evidence.recipe else "",
    }


def _arm_tables(evidence: RunEvidence) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The figures of arms in tables that fit the page: those of the recipe, and those that audits added."""
    names, rows = list(evidence.comparison.arms), comparison_rows(evidence.comparison)
    widths = [max(len(name), *(len(texts[arm]) for _, texts in rows)) + GAP for arm, name in enumerate(names)]
    tables: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    for is_audit, some in enumerate(tables):
        arms = [arm for arm, name in enumerate(names) if name.startswith(AUDIT) == bool(is_audit)]
        for columns in _side_by_side(arms, widths, PAGE_LETTERS - max(len(label) for label, _ in rows)):
            texts = [(label, [row[arm] for arm in columns]) for label, row in rows]
            some.append({"arms": [names[arm] for arm in columns], "rows": texts})
    return tables


def _side_by_side(arms: list[int], widths: list[int], room: int) -> list[list[int]]:
    """Arms in groups, each as wide as there is room."""
    groups: list[list[int]] = []
    for arm in arms:
        if not groups or sum(widths[other] for other in groups[-1]) + widths[arm] > room:
            groups.append([])
        groups[-1].append(arm)
    return groups


def _arm_context(folder: Path | None, name: str, metrics: ArmMetrics) -> dict[str, Any]:
    arm = metrics.headline
    spans, calibration = arm.intervals, arm.calibration
    classes = [
        {
            "name": label,
            "support": scores.support,
            "texts": [_with_ci(getattr(scores, figure), spans.get(f"{label}.{figure}")) for figure in FIGURES],
        }
        for label, scores in arm.per_class.items()
    ]
    others = (
        f"Balanced accuracy {_with_ci(arm.balanced_accuracy, spans['balanced_accuracy'])}, kappa {arm.kappa:.3f}, "
        f"MCC {arm.mcc:.3f}"
    )
    others += (
        ". Predicted labels without scores say nothing of AUROC, calibration and thresholds."
        if metrics.labels_only
        else f", Brier score {arm.brier:.3f}, calibration error {arm.ece:.3f} "
        f"({calibration.ece_after:.3f} with temperature {calibration.temperature:.2f}, by {calibration.judged_by})."
    )
    points = [
        [
            label,
            f"{point.wanted_sensitivity:.0%}",
            f"{point.threshold:.3f}",
            f"{point.sensitivity:.3f}",
            f"{point.specificity:.3f}",
            *(_figure(values[share]) for share in point.ppv for values in (point.ppv, point.npv)),
        ]
        for label, of_class in arm.operating_points.items()
        for point in of_class
    ]
    groups = [
        [f"{group.variable} {group.value}", group.images, group.patients, _figure(group.accuracy), _ci(group.interval)]
        for group in arm.subgroups
    ]
    names, deletion = list(arm.per_class), folder and picture(folder / "plots" / "deletion.png", f"{name}: {PLOTS['deletion']}")
    return {
        "name": name,
        "classes": classes,
        "others": others,
        "points": points,
        "points_note": _points_note(arm),
        "subgroups": groups,
        "charts": arm_charts(folder, metrics) if folder else [],
        "confusion": [
            (label, [(count, count / max(1, sum(row))) for count in row])
            for label, row in zip(names, arm.confusion_matrix, strict=True)
        ],
        "plots": [deletion] if deletion else [],
    }


def _points_note(metrics: SetMetrics) -> str:
    """Why a threshold may miss the sensitivity that it was chosen for, and which do."""
    missed = [
        f"{label} at {point.wanted_sensitivity:.0%} (reached {point.sensitivity:.3f})"
        for label, of_class in metrics.operating_points.items()
        for point in of_class
        if point.sensitivity < point.wanted_sensitivity
    ]
    why = (
        "Each threshold reaches the wanted sensitivity on the patients that it was chosen on, and is judged on others here; "
        "with few images of a class it may miss it by chance alone."
    )
    return f"{why} Missed: {', '.join(missed)}." if missed else why


def _external_context(evidence: RunEvidence) -> list[dict[str, Any]]:
    """Each source held out and each external set: what it is, and every arm's figures on it beside those inside."""
    arms = {name: arm.metrics.elsewhere for name, arm in evidence.arms.items()}
    sources = {source for arm in evidence.arms.values() for source in arm.metrics.sources}
    first = next(iter(arms.values()))
    return [
        {
            "name": place,
            "images": metrics.images,
            "patients": metrics.patients,
            "held_out": place in sources,
            "classes": ", ".join(metrics.fall.classes),
            "labels": ", ".join(f"{theirs} is {ours}" for theirs, ours in metrics.labels.items() if theirs != ours),
            "left_out": "; ".join(f"{count}, {reason}" for reason, count in metrics.left_out.items()),
            "answers": [f"{name}: {_prediction_mix(external[place])}" for name, external in arms.items()],
            "rows": [
                [name, _in_words(metric), *map(_figure, (drop.inside, drop.outside, drop.fall)), _ci(drop.interval)]
                for name, external in arms.items()
                for metric, drop in external[place].fall.metrics.items()
            ],
        }
        for place, metrics in first.items()
    ]


def _refusal_rows(evidence: RunEvidence) -> list[list[str]]:
    """Of every arm and set: the coverage of its sets of classes, what is refused, and what is answered wrongly all the same."""
    rows = []
    for name, arm in evidence.arms.items():
        inside = "validation set" if arm.metrics.scored_on != "out-of-fold" else "out-of-fold"
        sets = {inside: arm.metrics.valid} | ({"test set": arm.metrics.test} if arm.metrics.test else {})
        for place, metrics in (sets | arm.metrics.elsewhere).items():
            found = metrics.conformal
            if found is not None:
                unlike = "-" if found.unlike is None else f"{found.unlike:.0%}"
                shares = [f"{found.answered:.0%}", f"{found.wrong_answers:.1%}", f"{1 - metrics.accuracy:.1%}"]
                rows.append([name, place, _with_ci(found.coverage, found.interval), unlike, *shares])
    return rows


def _prediction_mix(metrics: SetMetrics) -> str:
    """What a network called the images of a set, the commonest answer first."""
    given = {name: sum(row[code] for row in metrics.confusion_matrix) for code, name in enumerate(metrics.per_class)}
    total = sum(given.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in sorted(given.items(), key=lambda item: -item[1]))


def _in_words(figure: str) -> str:
    """`covid.roc_auc` as `covid: roc auc`."""
    return figure.replace(".", ": ").replace("_", " ")


def _confounders(audit: DataAudit | None) -> list[list[str]]:
    if audit is None:
        return []
    baselines = {"all metadata together": audit.metadata_alone, "statistics of the pixels": audit.image_statistics_alone}
    return [
        [what, "all classes", f"{baseline.accuracy:.3f}", f"{audit.chance:.3f}", "", ""]
        for what, baseline in baselines.items()
        if baseline is not None
    ] + [
        [
            confounder.variable.replace("_", " "),
            " / ".join(confounder.classes),
            f"{confounder.accuracy:.3f}",
            f"{confounder.chance:.3f}",
            f"{confounder.cramers_v:.2f}",
            p_text(confounder.corrected_p).removeprefix("p ").removeprefix("= "),
        ]
        for confounder in audit.most_telling
    ]


def _shortcuts(evidence: RunEvidence) -> list[list[str]]:
    rows = []
    for name, arm in evidence.arms.items():
        audit = arm.metrics.shortcuts
        if audit:
            views = [audit.views.get(view) for view in VIEWS]
            left = audit.skill_without_lungs
            texts = [_figure(view and view.accuracy) for view in views]
            rows.append([name, str(audit.images), *texts, f"{audit.chance:.3f}", "-" if left is None else f"{left:.0%}"])
    return rows


def _label_errors(run: Path, images: bool) -> dict[str, Any] | None:
    """The labels that a run doubts; None where they were not looked for."""
    file = run / "label_errors.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    caption = "the least plausible labels first; whether a label is wrong, only a reader of the radiograph can say"
    return found | {"plot": picture(run / "label_errors.png", caption) if images else None}


def _leaks(audit: DataAudit | None, evidence: RunEvidence) -> str:
    if audit is None or not audit.leaks:
        return ""
    return (
        f"{audit.patients.on_both_sides} patients, {audit.duplicates.exact_across_sides} identical and "
        f"{audit.duplicates.near_across_sides} almost identical pairs of images are in two sets. "
        f"{'' if evidence.subject else 'The recipe allowed it. '}Every score below is too good."
    )


def _trained_on(evidence: RunEvidence) -> str:
    arm, data = next(iter(evidence.arms.values())), evidence.recipe["data"]
    left_out = arm.summary.left_out_of_training
    counts = arm.summary.images | ({"left out of training": left_out} if left_out else {})
    counted = ", ".join(f"{count} {side}" for side, count in counts.items())
    source = " and ".join(dataset_names(data)) or data["manifest"]
    return f"{source}: {counted} images; classes {', '.join(data['classes'])}."


def _with_ci(value: float | None, span: Interval | None) -> str:
    return _figure(value) if span is None else f"{_figure(value)} [{_ci(span)}]"


def _ci(span: Interval | None) -> str:
    return "-" if span is None else f"{span[0]:.3f}, {span[1]:.3f}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
