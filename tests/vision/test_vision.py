"""Notebooks and recipes are made of the same pieces, and fastai's own methods work on them."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fastai.callback.mixup import MixUp
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, RandomSplitter
from fastai.interpret import ClassificationInterpretation
from fastai.vision.augment import Resize
from fastai.vision.core import PILImageBW
from fastai.vision.data import ImageBlock
from PIL import Image

from darkcovid.core.errors import DataError, UsageError
from darkcovid.experiment.runner import run
from darkcovid.recipe import Training
from darkcovid.report.progress import null_progress
from darkcovid.vision import (
    CXRDataBlock,
    CXRDataLoaders,
    LungCrop,
    Segmenter,
    cxr_learner,
    darkcovid_learner,
    manifest_table,
)
from darkcovid.vision.images import open_gray

from ..training.test_schedule import RESNET, changed


@pytest.fixture
def dls(tiny_recipe, cache_dir):
    return CXRDataLoaders.from_recipe(tiny_recipe, cache_dir=cache_dir)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_a_notebook_learns_what_a_recipe_learns_bit_for_bit(tiny_recipe, cache_dir, folders, frozen):
    recipe = tiny_recipe.model_copy(update={"audit": "none"})
    if frozen:
        recipe = changed(recipe, RESNET, {"augment": "none"}, freeze_backbone=True)
    run(recipe, folders, null_progress())
    (history,) = folders.runs.glob("*/*/history.csv")
    rows = pd.read_csv(history)
    saved = pd.read_csv(history.with_name("predictions.csv"))
    saved = saved[[f"probability_{name}" for name in recipe.data.classes]].to_numpy(np.float32)

    learn = cxr_learner(CXRDataLoaders.from_recipe(recipe, cache_dir=cache_dir), recipe.model.arch, model=model_of(recipe))
    with learn.no_bar(), learn.no_logging():
        fitted = learn.fit_recipe()
    for name in ("train_loss", "valid_loss", "accuracy", "lr"):
        assert [row[name] for row in fitted.fitted.history.rows] == rows[name].tolist()
    np.testing.assert_array_equal(fitted.probabilities, saved)
    if frozen:
        return
    learn = darkcovid_learner(CXRDataLoaders.from_recipe(recipe, cache_dir=cache_dir))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(recipe.training.epochs, recipe.training.lr, div_final=recipe.training.div_final,
                            pct_start=recipe.training.warmup_fraction)  # fmt: skip
    assert [float(values[1]) for values in learn.recorder.values] == pytest.approx(rows.valid_loss.tolist(), rel=1e-6)
    np.testing.assert_array_equal(learn.split_predictions().filter(like="probability_").to_numpy(np.float32), saved)


def files_of(cohort):
    return cohort.rows.assign(path=[str(file) for file in cohort.files])


def model_of(recipe):
    return recipe.model.model_dump(mode="json", exclude={"arch", "weights"})


def test_loaders_of_a_manifest_a_table_and_a_folder(cohort, cache_dir, tmp_path):
    rows = cohort.rows.assign(path=[str(file.relative_to("/")) for file in cohort.files])
    options = {"size": 64, "bs": 8, "device": "cpu", "precision": "fp32", "cache_dir": cache_dir}
    of_table = CXRDataLoaders.from_df(rows, "/", **options)
    table = of_table.split_table()
    assert table.loc[:, (slice(None), "images")].to_numpy().sum() == len(cohort)
    train, valid = (set(of_table.cohort.patients[chosen]) for chosen in (of_table.cohort.train, of_table.cohort.valid))
    assert not train & valid
    absolute = CXRDataLoaders.from_df(cohort.rows.assign(path=list(map(str, cohort.files))), **options)
    assert absolute.split_table().to_numpy().sum() == table.to_numpy().sum()
    rows.to_csv(tmp_path / "manifest.csv", index=False)
    of_manifest = CXRDataLoaders.from_manifest(tmp_path / "manifest.csv", root="/", **options)
    assert of_manifest.split_table().equals(table)
    for file, label in zip(cohort.files, cohort.labels, strict=True):
        place = tmp_path / "folders" / cohort.classes[label] / f"{file.parent.name}_{file.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match=r"the patient of (\d+) of \1 images is not known: each counts as a patient"):
        of_folder = CXRDataLoaders.from_folder(tmp_path / "folders", **options)
    assert len(of_folder.cohort) == len(cohort) and of_folder.classes == tuple(sorted(cohort.classes))
    assert not list((tmp_path / "folders").rglob("*.csv"))
    with pytest.raises(UsageError, match="no column 'label'"):
        CXRDataLoaders.from_df(rows[["path"]])
    with pytest.raises(UsageError, match="no such arm"):
        CXRDataLoaders.from_manifest("phantom", size=64).from_recipe(of_manifest.recipe, arm="none")


@pytest.mark.slow
def test_fastais_methods_work(dls, tmp_path):
    axes = dls.show_batch(max_n=4, ncols=2)
    assert axes.shape == (2, 2) and axes[0, 0].get_title() in dls.classes
    learn = darkcovid_learner(dls, path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        weights = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
        found = learn.lr_find(show_plot=False, num_it=6)
        assert found.valley > 0
        assert all(tensor.equal(weights[name]) for name, tensor in learn.model.state_dict().items())
        assert not list(tmp_path.rglob("*.pth"))
        learn.fit_one_cycle(1, 1e-3)
        learn.fine_tune(1, 1e-3)
        probabilities, targets = learn.get_preds()
        assert probabilities.shape == (int(dls.cohort.valid.sum()), 3) and len(targets) == len(probabilities)
        interpretation = ClassificationInterpretation.from_learner(learn)
        assert interpretation.confusion_matrix().sum() == len(targets)
        interpretation.plot_top_losses(4)
        learn.show_results(max_n=4)
        assert {image.get_cmap().name for axes in plt.gcf().axes for image in axes.images} == {"gray"}
        assert learn.tta(n=2)[0].shape == probabilities.shape
        files = list(dls.cohort.files[:3])
        others, labels = learn.get_preds(dl=dls.test_dl(files))
        assert labels is None
        np.testing.assert_allclose(others.numpy(), learn.predict_proba(files), atol=1e-6)
        learn.fit(1, 1e-4, cbs=[SaveModelCallback(fname="best"), EarlyStoppingCallback(), MixUp(0.2), CSVLogger()])
        assert (tmp_path / "models" / "best.safetensors").is_file() and not list(tmp_path.rglob("*.pth"))
    file = learn.save("mine")
    assert file == tmp_path / "models" / "mine.safetensors"
    before = learn.split_predictions()
    other = darkcovid_learner(dls, path=tmp_path, training={"seed": 5}).load("mine")
    pd.testing.assert_frame_equal(other.split_predictions(), before)
    image = dls.cohort.files[3]
    label, index, scores = learn.predict(image)
    assert label == dls.classes[int(index)]
    np.testing.assert_allclose(scores.numpy(), before.filter(like="probability_").to_numpy()[3], atol=1e-5)
    with pytest.raises(UsageError, match="writes a pickle"):
        learn.export()


def test_a_transfer_learner_has_a_body_and_a_head(dls):
    learn = cxr_learner(dls, "resnet18", training={"mixup_alpha": 0.2})
    learn.create_opt()
    assert len(learn.opt.param_groups) == 2 and any(callback.name == "mix_up" for callback in learn.cbs)
    learn.freeze()
    assert learn.opt.frozen_idx == 1
    with pytest.raises(UsageError, match="arch"):
        cxr_learner(dls, "resnet1")
    assert Training().batch_size


def test_imagenet_s_input_is_that_of_the_network_that_the_loaders_are_made_for(cache_dir):
    given = {"phantom": {"patients": 24, "image_size": 64}, "size": 64, "cache_dir": cache_dir, "normalize": "pretrained"}
    loaders = CXRDataLoaders.from_manifest("phantom", arch="timm/tf_efficientnet_lite0", **given)
    assert loaders.recipe.data.normalize == "pretrained"
    assert cxr_learner(loaders, "timm/tf_efficientnet_lite0").normalizer is not None
    with pytest.raises(UsageError, match=r"^arch: the loaders have the ImageNet input of timm/tf_efficientnet_lite0"):
        cxr_learner(loaders, "resnet18")


def test_weights_of_the_classes_in_another_order_are_refused(dls, tmp_path):
    learn = cxr_learner(dls)
    file = learn.save(tmp_path / "fitted.safetensors")
    again = {"phantom": {"patients": 24, "image_size": 64}, "size": 64, "classes": list(reversed(dls.classes))}
    loaders = CXRDataLoaders.from_manifest("phantom", cache_dir=dls.cache_dir, **again)
    with pytest.raises(UsageError, match=r"its classes are covid, no_finding, pneumonia; give data\.classes in that order"):
        cxr_learner(loaders, weights=str(file))


def test_what_a_network_sees_can_be_looked_at_again(dls):
    """Shown pixels are those before normalization, whatever the way of normalizing."""
    rows = dls.valid.dataset.items
    for way in ("training", "per_image", "imagenet"):
        recipe = dls.recipe.model_copy(update={"data": dls.recipe.data.model_copy(update={"normalize": way})})
        loaders = CXRDataLoaders.from_pixels(recipe, dls.cohort, dls.pixels, dls.compute)
        inputs, targets = loaders.valid.one_batch()
        shown, _ = loaders.valid.decode_batch((inputs, targets), max_n=1)[0]
        pixels = np.asarray(dls.pixels[rows[0]], np.float32)
        expected = (pixels - pixels.min()) / np.ptp(pixels) * 255 if way == "per_image" else pixels
        np.testing.assert_allclose(np.asarray(shown)[0], expected, atol=1.5)


def test_a_data_block_keeps_patients_apart_and_takes_other_transforms(cohort, tmp_path):
    table = cohort.rows.assign(path=[str(file) for file in cohort.files])
    loaders = CXRDataBlock(size=48, valid_pct=0.3).dataloaders(table, bs=4, num_workers=0)
    train, valid = (set(part.items.patient_id) for part in (loaders.train_ds, loaders.valid_ds))
    assert train and valid and not train & valid
    inputs, _ = loaders.one_batch()
    assert inputs.shape == (4, 1, 48, 48) and list(loaders.vocab) == sorted(cohort.classes)
    axes = loaders.show_batch(max_n=1, show=True)
    assert axes is None and plt.gca().images[0].get_cmap().name == "gray"
    table.assign(path=table.path.str.removeprefix("/")).to_csv(tmp_path / "manifest.csv", index=False)
    mirrored = CXRDataBlock(item_tfms=Resize(32), classes=["pneumonia", "covid", "no_finding"], get_items=None)
    assert mirrored.dataloaders(manifest_table(tmp_path / "manifest.csv", "/"), bs=4, num_workers=0).vocab[0] == "pneumonia"


def test_the_segmenter_finds_lungs_at_the_images_own_size(cohort):
    file = cohort.files[0]
    found = Segmenter(device="cpu").predict(file)
    assert found.mask.shape == Image.open(file).size[::-1] and found.mask.dtype == bool
    box = found.box(margin=0.0)
    rows, columns = np.flatnonzero(found.mask.any(1)), np.flatnonzero(found.mask.any(0))
    assert (box.top, box.bottom, box.left, box.right) == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
    assert found.crop(0.0).size == (box.right - box.left, box.bottom - box.top)
    assert found.show().get_title() == "lungs"
    nothing = Segmenter(device="cpu").predict(np.zeros((40, 60)))
    assert not nothing.trusted and nothing.crop().size == (60, 40) and nothing.reason in nothing.show().get_title()
    assert Segmenter(device="cpu").predict_many([]) == []
    for wrong in (np.zeros((4, 4, 2), np.uint8), np.full((4, 4), 300.0), np.zeros(3, np.uint8)):
        with pytest.raises(UsageError, match="give a path, a PIL image, or an array"):
            open_gray(wrong)


@pytest.mark.slow
def test_lung_crops_in_these_loaders_and_in_any_data_block(cohort, cache_dir):
    dls = CXRDataLoaders.from_manifest(
        "phantom", size=64, bs=8, lungs=LungCrop(32, context=True), device="cpu", precision="fp32", cache_dir=cache_dir,
        phantom={"patients": 12, "image_size": 64},
    )  # fmt: skip
    assert dls.one_batch()[0].shape[1:] == (2, 32, 32)
    learn = darkcovid_learner(dls)
    scores = learn.predict_proba([Image.open(dls.cohort.files[0]), np.asarray(Image.open(dls.cohort.files[1]))])
    np.testing.assert_allclose(scores, learn.split_predictions().filter(like="probability_").to_numpy()[:2], atol=1e-5)
    block = DataBlock(
        blocks=(ImageBlock(PILImageBW), CategoryBlock()),
        get_x=ColReader("file"),
        get_y=ColReader("label"),
        splitter=RandomSplitter(seed=1),
        item_tfms=LungCrop((48, 40)),
    )
    table = pd.DataFrame({"file": list(map(str, cohort.files[:12])), "label": cohort.rows.label[:12]})
    assert block.dataloaders(table, bs=4, num_workers=0).one_batch()[0].shape == (4, 1, 48, 40)
    with pytest.raises(UsageError, match=r"LungCrop\(128\)"):
        LungCrop()(PILImageBW.create(cohort.files[0]))


def test_the_network_goes_onto_the_loaders_of_any_datablock(cohort):
    rows = files_of(cohort)
    dls = CXRDataBlock(size=64, classes=sorted(rows.label.unique())).dataloaders(rows, bs=4)
    for learn in (darkcovid_learner(dls), cxr_learner(dls, "resnet18", metrics=[])):
        learn.fit(1)
        assert learn.get_preds()[0].shape[1] == 3
    with pytest.raises(UsageError, match=r"training= is for CXRDataLoaders"):
        cxr_learner(dls, training={"mixup_alpha": 0.2})


def test_a_manifest_that_lies_in_a_folder_knows_its_patients(cohort, cache_dir, tmp_path):
    for file, path in zip(cohort.files, cohort.rows.path, strict=True):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(file.read_bytes())
    cohort.rows.to_csv(tmp_path / "manifest.csv", index=False)
    dls = CXRDataLoaders.from_folder(tmp_path, size=64, bs=8, device="cpu", cache_dir=cache_dir)
    assert set(dls.cohort.patients) == set(cohort.patients)
    assert repr(dls.cohort).startswith(f"Cohort({len(cohort)} images of {cohort.patients.nunique()} patients; ")


def test_item_transforms_follow_the_crop(cohort):
    rows = files_of(cohort)
    seen = []
    block = CXRDataBlock(lungs=LungCrop(64), item_tfms=[lambda image: seen.append(np.asarray(image).shape) or image])
    block.dataloaders(rows, bs=4).one_batch()
    assert set(seen) <= {(64, 64), ()}
    assert (64, 64) in seen


def test_an_item_of_the_dataset_is_predicted(dls):
    learn = darkcovid_learner(dls)
    image = dls.valid_ds[0][0]
    assert learn.predict(image)[0] in dls.classes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda dls: cxr_learner(dls, "resnet18", pretrained=True), r'^pretrained: say weights="imagenet"'),
        (lambda dls: darkcovid_learner(dls, metricss=[]), r"^metricss: not an argument of a learner; there are: path"),
        (lambda dls: darkcovid_learner(dls, metrics="accuracy"), r"^metrics: fastai's functions"),
        (lambda dls: CXRDataLoaders.from_manifest("phantom", item_tfms=[]), r"^item_tfms: .* make them with CXRDataBlock$"),
        (
            lambda dls: CXRDataLoaders.from_manifest("phantom", lungs=128),
            r"^lungs: a LungCrop, such as LungCrop\(128\), not 128$",
        ),
        (lambda dls: CXRDataLoaders.from_df("manifest.csv"), r"^from_df: a DataFrame, not str; from_manifest reads a file"),
        (lambda dls: LungCrop(64, mode="cropp"), r"^LungCrop: mode: .*'crop'"),
        (lambda dls: LungCrop(64, margin=5), r"^LungCrop: margin: "),
        (lambda dls: darkcovid_learner(dls).predict(["a.png", "b.png"]), r"^learn\.predict: one image; of several"),
        (lambda dls: dls.test_dl(pd.DataFrame({"file": ["a.png"]})), r"^test_dl: a table with a column `path`"),
        (lambda dls: dls.test_dl(["a.png"], with_labels=True), r"^test_dl: a table with a column `path`"),
    ],
)
def test_what_a_fastai_user_may_get_wrong_is_said_in_one_line(dls, make, said):
    with pytest.raises(UsageError, match=said) as caught:
        make(dls)
    assert "\n" not in str(caught.value)


def test_a_network_may_be_named_by_torchvision_s_function(dls):
    from torchvision.models import resnet18

    assert cxr_learner(dls, resnet18).recipe.model.arch == "resnet18"


def test_labels_of_other_images_validate_a_learner(dls):
    learn = darkcovid_learner(dls)
    rows = files_of(dls.cohort)[dls.cohort.valid]
    with learn.no_bar(), learn.no_logging():
        theirs = learn.validate(dl=dls.test_dl(rows, with_labels=True))
        ours = learn.validate()
    assert list(theirs) == pytest.approx(list(ours), rel=1e-5)


def test_a_mask_says_what_it_is(cohort):
    assert repr(Segmenter().predict(cohort.files[0])).startswith("LungMask(")


def test_weights_of_other_classes_or_another_size_are_refused(tiny_recipe, cache_dir, dls, tmp_path):
    learn = darkcovid_learner(dls, path=tmp_path)
    learn.save("fitted")
    data = tiny_recipe.data
    turned = tiny_recipe.model_copy(update={"data": data.model_copy(update={"classes": data.classes[::-1]})})
    larger = tiny_recipe.model_copy(update={"data": data.model_copy(update={"image_size": 96})})
    for recipe, said in (
        (turned, rf"of the classes {', '.join(data.classes)}, and these loaders have {', '.join(data.classes[::-1])}"),
        (larger, r"of another shape: .*; it was fitted to 64x64 px, and these loaders have 96x96 px"),
    ):
        other = darkcovid_learner(CXRDataLoaders.from_recipe(recipe, cache_dir=cache_dir), path=tmp_path)
        with pytest.raises(DataError, match=said):
            other.load("fitted")
    with pytest.raises(DataError, match=r"no such file; learn\.save writes it, and weights= of cxr_learner reads a \.pth file"):
        learn.load("absent")


def test_a_datablock_s_learner_predicts_files(cohort):
    rows = files_of(cohort)
    learn = darkcovid_learner(CXRDataBlock(size=64, classes=cohort.classes).dataloaders(rows, bs=4))
    with learn.no_bar():
        assert learn.predict(rows.path[0])[0] in cohort.classes


def test_a_crop_keeps_the_mode_of_fastai_s_own_images(cohort):
    from fastai.vision.core import PILImage

    cropped = LungCrop(64)(PILImage.create(cohort.files[0]))
    assert type(cropped) is PILImage and cropped.mode == "RGB" and cropped.size == (64, 64)
