"""Any fastai Learner, audited from Python: what it was trained on is known by its items, and a shortcut is found."""

import fastai.callback.progress  # noqa: F401 (importing gives a Learner its `no_bar`)
import numpy as np
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, ColSplitter, FuncSplitter, Normalize
from fastai.layers import ConvLayer
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.vision.augment import Resize
from fastai.vision.core import imagenet_stats
from fastai.vision.data import ImageBlock
from torch import nn

import darkcovid as dc
from darkcovid.core.errors import UsageError
from darkcovid.data.phantom import phantom_manifest
from darkcovid.recipe import Phantom

NAMES = {"no_finding": "rest", "pneumonia": "rest"}


@pytest.fixture(scope="module")
def cohort(cache_dir):
    manifest = phantom_manifest(Phantom(patients=60, image_size=64, shortcut=1.0), cache_dir)
    rows = manifest.rows.assign(label=manifest.rows.label.replace(NAMES))
    return manifest.roots[0], rows.assign(held=rows.patient_id.str.rpartition("-")[2].astype(int) % 5 < 2)


def learner(dls, classes=2):
    layers = [ConvLayer(3, 8, stride=2), ConvLayer(8, 16, stride=2), nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    layers += [nn.Linear(16, classes)]
    return Learner(dls, nn.Sequential(*layers), metrics=accuracy, loss_func=CrossEntropyLossFlat())


def loaders(root, rows, of_rows):
    labels = {root / path: label for path, label in zip(rows.path, rows.label, strict=True)}
    held = {root / path: is_held for path, is_held in zip(rows.path, rows.held, strict=True)}
    shared = {"item_tfms": Resize(64, method="squish"), "batch_tfms": Normalize.from_stats(*imagenet_stats)}
    if of_rows:
        kinds = {
            "get_x": ColReader("path", pref=root),
            "get_y": ColReader("label"),
            "splitter": ColSplitter("held"),
        }
        block = DataBlock((ImageBlock, CategoryBlock), **kinds, **shared)
    else:
        kinds = {"get_items": lambda source: list(labels), "get_y": labels.get, "splitter": FuncSplitter(held.get)}
        block = DataBlock((ImageBlock, CategoryBlock), **kinds, **shared)
    return block.dataloaders(rows if of_rows else root, bs=16, num_workers=0)


@pytest.mark.slow
def test_a_shortcut_of_any_learner_is_found(cohort, tmp_path):
    root, rows = cohort
    learn = learner(loaders(root, rows, of_rows=False))
    with learn.no_bar(), learn.no_logging():
        learn.fit(6, 1e-2)
        expected = learn.validate()[1]
    report = dc.audit(learn, cohort=root / "manifest.csv", classes=NAMES)
    (metrics,) = report.metrics.values()
    assert metrics.valid.accuracy == pytest.approx(expected) and expected > 0.8
    (arm,) = report.evidence.arms.values()
    assert arm.summary.images == {"train": int((~rows.held).sum()), "valid": int(rows.held.sum())}
    assert report.checks.status[[3, 4]].tolist() == ["pass", "pass"]
    assert report.checks.status[19] == "fail" and metrics.attention["covid"].inside_lungs_of_fresh_weights is not None
    assert "needs the training code" in report.checks.finding[16]
    page = report.save(tmp_path / "audit.html").read_text()
    assert report.verdict[0] in page
    assert "fails" in report.save_sheet("claim", tmp_path / "claim.md").read_text()

    of_rows = Learner(loaders(root, rows, of_rows=True), learn.model, loss_func=CrossEntropyLossFlat())
    other = dc.audit(of_rows, cohort=root / "manifest.csv", classes=NAMES, shortcuts=False)
    (again,) = other.metrics.values()
    assert again.valid.confusion_matrix == metrics.valid.confusion_matrix
    with pytest.raises(UsageError, match="needs cohort="):
        dc.audit(of_rows)


@pytest.mark.slow
def test_a_learners_classes_are_all_scored(cache_dir):
    """A cohort lacks the class that the learner answers always."""
    manifest = phantom_manifest(Phantom(patients=24, image_size=64), cache_dir)
    rows = manifest.rows.assign(held=manifest.rows.patient_id.str.rpartition("-")[2].astype(int) % 2 == 1)
    learn = learner(loaders(manifest.roots[0], rows, of_rows=False), classes=3)
    assert list(learn.dls.vocab) == ["covid", "no_finding", "pneumonia"]
    learn.model[-1].bias.data += torch.tensor([0.0, 50.0, 0.0])
    two = rows[rows.label != "no_finding"]
    two = two.assign(path=[str(manifest.roots[0] / path) for path in two.path])
    report = dc.audit(learn, cohort=two.drop(columns="held"))
    (arm,), (metrics,) = report.evidence.arms.values(), report.metrics.values()
    assert arm.summary.classes == ["covid", "no_finding", "pneumonia"]
    assert metrics.valid.accuracy == 0 and np.array(metrics.valid.confusion_matrix)[:, 1].sum() == two.held.sum() > 3
    assert metrics.shortcuts.views["plain"].accuracy == 0
