"""Predictions as other programs write them: a row is of one image, a number of one class, and what is not plain is asked."""

import numpy as np
import pandas as pd
import pytest

from darkcovid.core.errors import DarkCovidError, DataError, UsageError
from darkcovid.data.manifest import normalize_rows
from darkcovid.data.predictions.class_names import read_class_names
from darkcovid.data.predictions.columns import ColumnChoice
from darkcovid.data.predictions.join import JoinRule
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.read import join_predictions
from darkcovid.data.predictions.table import read_text_table, table_of_frame

COUNT = 12
CLASSES = ("covid", "no_finding", "pneumonia")
LABELS = [CLASSES[code] for code in (0, 1, 1, 2, 0, 2, 2, 1, 0, 0, 1, 2)]
PATHS = [f"images/{LABELS[row]}/p{row:03d}.png" for row in range(COUNT)]
NAMES = [path.rpartition("/")[2] for path in PATHS]


HEADER = "image,covid,no_finding,pneumonia\n"


def manifest(labels=LABELS, paths=PATHS):
    rows = pd.DataFrame({"path": paths, "label": labels, "patient_id": [str(row // 2) for row in range(len(paths))]})
    return normalize_rows(rows)


def softmax(classes=CLASSES, seed=0):
    """(COUNT, classes) probabilities, most of which are right."""
    logits = np.random.default_rng(seed).normal(size=(COUNT, len(classes)))
    for row, label in enumerate(LABELS):
        if label in classes:
            logits[row, classes.index(label)] += 2
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def frame(values=None, names=PATHS, columns=CLASSES, **more):
    values = softmax() if values is None else values
    return pd.DataFrame({"image": names, **more, **{name: values[:, place] for place, name in enumerate(columns)}})


def read(table, rows=None, **options):
    table = table_of_frame(table) if isinstance(table, pd.DataFrame) else table
    return join_predictions(table, manifest() if rows is None else rows, PredictionOptions(**options))


def read_text(tmp_path, text, rows=None, encoding="utf-8", **options):
    (tmp_path / "preds.csv").write_bytes(text.encode(encoding))
    return read(read_text_table(tmp_path / "preds.csv"), rows, **options)


def probabilities(read, classes=CLASSES):
    (part,) = read.scored
    return part.probabilities[:, [part.classes.index(name) for name in classes]]


def check_same(found, expected=None, rows=range(COUNT), atol=1e-9):
    assert found.rows.tolist() == list(rows)
    assert found.scored[0].labels.tolist() == [LABELS[row] for row in rows]
    np.testing.assert_allclose(probabilities(found), (softmax() if expected is None else expected)[list(rows)], atol=atol)


def test_keras(tmp_path):
    """A generator's file names below its folder, integer labels, and columns in the order of its classes."""
    names = [path.removeprefix("images/").replace("/", "\\") for path in PATHS]
    codes = [CLASSES.index(label) for label in LABELS]
    table = frame(names=names, columns=["prob_0", "prob_1", "prob_2"], y_true=codes).rename(columns={"image": "filename"})
    found = read_text(tmp_path, table.to_csv(index=False))
    check_same(found)
    assert any("0 is covid, 1 is no_finding, 2 is pneumonia" in note for note in found.notes)


def test_scikit_learn(tmp_path):
    """An index, integer labels and columns 0, 1, 2: which images the index means is asked for."""
    codes = [CLASSES.index(label) for label in LABELS]
    table = pd.DataFrame(softmax()).assign(y_true=codes)
    text = table.iloc[::-1].to_csv()
    with pytest.raises(UsageError, match=r"--row-column index and --first-row"):
        read_text(tmp_path, text)
    check_same(read_text(tmp_path, text, columns=ColumnChoice(row="index"), first_row=0))
    text = table.iloc[::-1].rename_axis("row").to_csv()
    check_same(read_text(tmp_path, text, columns=ColumnChoice(row="row"), first_row=0))
    with pytest.raises(UsageError, match="manifest rows 1 to 12"):
        read_text(tmp_path, text, columns=ColumnChoice(row="row"), first_row=1)
    shifted = table.iloc[:-1].set_axis(range(1, COUNT), axis=0)
    with pytest.raises(UsageError, match="do not go one to one"):
        read(shifted.rename_axis("row"), columns=ColumnChoice(row="row"), first_row=0)
    check_same(read(table.reset_index(drop=True), in_order=True))
    with pytest.raises(UsageError, match="has 11 rows, the manifest 12"):
        read(table.iloc[1:], in_order=True)


def test_ultralytics(tmp_path):
    """Absolute paths, the number and the confidence of the best class, and a dict of names."""
    best = softmax().argmax(1)
    names = [f"/data/xrays/test/{path}" for path in PATHS]
    table = pd.DataFrame({"path": names, "top1": best, "top1conf": softmax().max(1)})
    (tmp_path / "names.yaml").write_text("names:\n  0: covid\n  1: no_finding\n  2: pneumonia\n")
    given = read_class_names(str(tmp_path / "names.yaml"))
    found = read_text(tmp_path, table.to_csv(index=False), class_names=given)
    assert found.labels_only and any("after /data/xrays/test" in note for note in found.notes)
    assert probabilities(found).argmax(1).tolist() == best.tolist()
    with pytest.raises(UsageError, match="--classes"):
        read_text(tmp_path, table.to_csv(index=False))
    full = table.assign(**{f"conf_{code}": softmax()[:, code] for code in range(3)})
    check_same(read_text(tmp_path, full.to_csv(index=False), class_names=given))
    words = full.assign(top1=[CLASSES[code] for code in best])
    check_same(read_text(tmp_path, words.to_csv(index=False)))  # the words prove the numbers


def test_torchxrayvision(tmp_path):
    """A probability per finding, most of which no label names, that do not add up to 1."""
    random = np.random.default_rng(1)
    findings = ["Atelectasis", "Pneumonia", "Effusion", "Lung Opacity", "COVID-19"]
    values = random.uniform(size=(COUNT, 5))
    table = pd.DataFrame(values, columns=findings, index=pd.Index(PATHS, name="path")).assign(Hernia=np.nan)
    found = read_text(tmp_path, table.to_csv())
    assert [part.name for part in found.scored] == ["pneumonia", "covid"]
    for part, column in zip(found.scored, ("Pneumonia", "COVID-19"), strict=True):
        assert part.classes == (part.name, "rest")
        np.testing.assert_allclose(part.probabilities[:, 0], table[column])
        assert part.labels.tolist() == [label if label == part.name else "rest" for label in LABELS]
    assert any("Atelectasis, Effusion, Lung Opacity" in note for note in found.notes)


def test_several_findings_of_one_image():
    rows = manifest(labels=["a|b" if row % 3 == 0 else "a" if row % 3 == 1 else "" for row in range(COUNT)])
    rows.loc[2, "label"] = "none"
    table = frame(np.random.default_rng(0).uniform(size=(COUNT, 2)), columns=["a", "b"])
    found = read(table, rows)
    assert [part.name for part in found.scored] == ["a", "b"]
    assert found.scored[1].labels.tolist()[:3] == ["b", "rest", "rest"] and found.left_out["without a label"] == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_spreadsheet_with_semicolons_and_decimal_commas(tmp_path, encoding):
    text = frame().to_csv(index=False, sep=";", decimal=",")
    check_same(read_text(tmp_path, text, encoding=encoding))
    check_same(read_text(tmp_path, "sep=;\r\n" + text.replace("\n", "\r\n"), encoding=encoding))


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (softmax() * 100, "percentages"),
        (np.log(softmax()) + 3 * np.arange(COUNT)[:, None] - 9, "logits"),
        (np.log(softmax()), "log-probabilities"),
        (softmax().round(2), "probabilities"),
    ],
)
def test_what_numbers_are_is_found_and_said(values, note):
    found = read(frame(values))
    check_same(found, atol=0.02)
    assert any(note in said for said in found.notes)


def test_percent_signs_and_lists(tmp_path):
    texts = pd.DataFrame({name: [f"{value:.4%}" for value in softmax()[:, place]] for place, name in enumerate(CLASSES)})
    check_same(read_text(tmp_path, texts.assign(image=PATHS).to_csv(index=False)), atol=1e-4)
    lists = pd.DataFrame({"image": PATHS, "probs": [str(row.tolist()) for row in softmax()]})
    given = {"0": "covid", "1": "no_finding", "2": "pneumonia"}
    check_same(read_text(tmp_path, lists.to_csv(index=False), class_names=given))


@pytest.mark.parametrize("asked", ["auto", "percent", "probabilities", "largest", "per-finding"])
@pytest.mark.parametrize("highest", [0.9, 12.5, 100.0])
@pytest.mark.parametrize("column", ["covid", "score"])
def test_a_percent_sign_is_a_hundredth(tmp_path, asked, highest, column):
    percent = np.linspace(0.2, highest, COUNT)
    table = pd.DataFrame(
        {"image": PATHS, column: [f"{value:.3f} %" if row else f"{value}%" for row, value in enumerate(percent)]}
    )
    (part,) = read_text(tmp_path, table.to_csv(index=False), scores=asked, positive="covid").scored
    np.testing.assert_allclose(part.probabilities[:, part.classes.index("covid")], percent / 100, atol=1e-5)
    several = pd.DataFrame({"image": PATHS} | dict.fromkeys(CLASSES, table[column]))
    for part in read_text(tmp_path, several.to_csv(index=False), scores="per-finding").scored:
        np.testing.assert_allclose(part.probabilities[:, 0], percent / 100, atol=1e-5)


def test_percent_signs_that_contradict_something_are_refused(tmp_path):
    percent = [f"{value:.3f}%" for value in np.linspace(0.2, 40, COUNT)]
    for cells, options, message in (
        ([*percent[:-1], "0.5"], {}, "others none"),
        ([*percent[:-1], "140%"], {}, "lie between 0.2 and 140"),
        (percent, {"scores": "logits"}, "no logits"),
    ):
        table = pd.DataFrame({"image": PATHS, "covid": cells})
        with pytest.raises(DarkCovidError, match=message):
            read_text(tmp_path, table.to_csv(index=False), **options)
    mixed = frame().assign(covid=[f"{value:.4%}" for value in softmax()[:, 0]])
    with pytest.raises(DataError, match="others none"):
        read_text(tmp_path, mixed.to_csv(index=False))
    elsewhere = frame().assign(oxygen=["95%", "0.9"] * (COUNT // 2))
    check_same(read_text(tmp_path, elsewhere.to_csv(index=False)))


def test_scores_that_compete_without_adding_up_are_asked_for():
    values = softmax() * 0.7 + 0.15
    with pytest.raises(UsageError, match="--scores largest"):
        read(frame(values))
    check_same(read(frame(values), scores="largest"), values / values.sum(1, keepdims=True))
    alone = read(frame(values), scores="per-finding")
    assert [part.name for part in alone.scored] == list(CLASSES)
    np.testing.assert_allclose(alone.scored[1].probabilities[:, 0], values[:, 1])


@pytest.mark.parametrize("column", ["probability", "y_score", "prob_covid", "covid", "sigmoid"])
@pytest.mark.parametrize("scale", ["probability", "percent", "logit"])
def test_one_column_of_a_positive_class(column, scale):
    positive = softmax()[:, 0]
    values = {"probability": positive, "percent": positive * 100, "logit": np.log(positive / (1 - positive))}[scale]
    table = pd.DataFrame({"image": PATHS, column: values})
    if "covid" not in column:
        with pytest.raises(UsageError, match="--positive covid"):
            read(table)
    found = read(table, positive="covid")
    (part,) = found.scored
    assert part.classes == ("covid", "rest")
    np.testing.assert_allclose(part.probabilities[:, 0], positive)
    assert part.labels.tolist() == [label if label == "covid" else "rest" for label in LABELS]
    assert any("against rest" in note for note in found.notes)


def test_one_column_beside_labels_of_0_and_1():
    rows = manifest(labels=["covid" if label == "covid" else "normal" for label in LABELS])
    table = pd.DataFrame({"image": PATHS, "y_true": [int(label == "covid") for label in LABELS], "y_pred": softmax()[:, 0]})
    (part,) = read(table, rows).scored
    assert part.classes == ("covid", "normal")
    np.testing.assert_allclose(part.probabilities[:, 0], softmax()[:, 0])


@pytest.mark.parametrize(
    "named",
    [
        lambda path: path,
        lambda path: f"./{path}",
        lambda path: f"/home/me/data/{path}",
        lambda path: "C:\\data\\" + path.replace("/", "\\"),
        lambda path: path.removeprefix("images/"),
        lambda path: path.rpartition("/")[2],
        lambda path: path.rpartition("/")[2].removesuffix(".png"),
        lambda path: path.removesuffix(".png"),
        lambda path: f"file:///srv/{path}",
    ],
)
def test_every_form_of_a_path_is_of_the_same_image(named):
    order = np.random.default_rng(3).permutation(COUNT)
    table = frame(names=[named(path) for path in PATHS]).iloc[order]
    check_same(read(table))


def test_names_that_may_be_several_images_are_asked_for():
    paths = [f"a/{row}.png" for row in range(6)] + [f"b/{row}.png" for row in range(6)]
    rows = manifest(paths=paths)
    with pytest.raises(UsageError, match=r"'0\.png' may be a/0\.png or b/0\.png"):
        read(frame(names=[f"{row}.png" for row in range(6)] * 2), rows)
    check_same(read(frame(names=[f"x/{path}" for path in paths]), rows))
    with pytest.raises(UsageError, match=r"none of the 12 images is in the manifest.*--match-by name"):
        read(frame(names=[f"other/{name}" for name in NAMES]))
    check_same(read(frame(names=[f"other/{name}" for name in NAMES]), rule=JoinRule("name")))
    with pytest.raises(UsageError, match="several folders"):
        read(
            frame(names=[f"h{row % 2}/{row}.png" for row in range(COUNT)]), manifest(paths=[f"{row}.png" for row in range(COUNT)])
        )
    with pytest.raises(UsageError, match="--match-by stem"):
        read(frame(names=[path.replace(".png", ".jpg") for path in PATHS]))
    with pytest.raises(UsageError, match="--ignore-case"):
        read(frame(names=[path.upper() for path in PATHS]))
    check_same(read(frame(names=[path.upper() for path in PATHS]), rule=JoinRule(ignore_case=True)))
    check_same(read(frame(names=[f"cv1_{path}" for path in PATHS]), rule=JoinRule(strip_prefix="cv1_")))
    with pytest.raises(UsageError, match="same name, which is that of"):
        read(frame(names=[*(f"x/{name}" for name in NAMES[:-1]), f"y/{NAMES[0]}"]), rule=JoinRule("name"))


def test_a_bare_name_beside_the_same_path_is_not_plain():
    """`0.png` is a path of the manifest, and the end of another: other bare names say that it may be either."""
    rows = manifest(paths=["0.png", "x/0.png", *(f"x/{row}.png" for row in range(2, COUNT))])
    with pytest.raises(UsageError, match=r"'0\.png' may be 0\.png or x/0\.png"):
        read(frame(names=["0.png", *(f"{row}.png" for row in range(2, COUNT)), "x/0.png"]), rows)
    check_same(read(frame(names=rows.path.tolist()), rows))


def test_row_numbers_are_no_names_of_files():
    """Files called 0.png, 1.png and an index of the rows that were scored: what fits by chance is asked for."""
    rows = manifest(paths=[f"{row}.png" for row in range(COUNT)])
    some = frame().drop(columns="image").iloc[4:].reset_index(drop=True)
    for name in ("index", "id", "image_id"):
        table = some.rename_axis(name).reset_index()
        with pytest.raises(UsageError, match=f"if '{name}' counts rows of the manifest, give --row-column {name} and"):
            read(table, rows)
    check_same(read(frame(names=[str(row) for row in range(COUNT)]).iloc[::-1], rows))


def test_probabilities_below_0_are_refused():
    values = softmax()
    values[3] = [-0.1, 0.6, 0.5]
    with pytest.raises(DataError, match=r"add up to 1, and one is -0\.1"):
        read(frame(values))


def test_names_with_dots_keep_their_ends():
    paths = [f"1.2.840.{row}" for row in range(COUNT)]
    check_same(read(frame(names=paths), manifest(paths=[f"dicom/{path}.dcm" for path in paths])))
    check_same(read(frame(names=paths), manifest(paths=paths)))


def test_rows_that_are_twice_missing_or_further(tmp_path):
    same = pd.concat([frame(), frame().iloc[:2]])
    found = read(same)
    check_same(found)
    assert any("2 rows twice in every cell" in note for note in found.notes)
    other = pd.concat([frame(), frame(softmax(seed=5)).iloc[:2]])
    with pytest.raises(UsageError, match=r"p000\.png is predicted twice, in rows 1 and 13, as 2 images"):
        read(other)
    mean = softmax()
    mean[:2] = (softmax()[:2] + softmax(seed=5)[:2]) / 2
    check_same(read(other, mean_of_duplicates=True), mean)
    renamed = pd.concat([frame(), frame(softmax(seed=5), names=[f"/x/{path}" for path in PATHS]).iloc[:1]])
    with pytest.raises(UsageError, match="written in several ways"):
        read(renamed)
    check_same(read(frame().iloc[3:]), rows=range(3, COUNT))
    further = pd.concat([frame(), frame(names=[f"elsewhere/{row}.png" for row in range(COUNT)]).iloc[:1]])
    with pytest.raises(
        UsageError, match=r"1 predicted image of 13 not in the manifest, the first is elsewhere/0\.png \(row 13\)"
    ):
        read(further)
    found = read(further, skip_unusable=True)
    check_same(found)
    assert found.left_out == {"not in the manifest": 1}


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "inf", "-inf", "None", "#N/A"])
def test_a_missing_number_is_refused_or_counted(tmp_path, cell):
    table = frame().astype(object)
    table.loc[4, "covid"] = cell
    with pytest.raises(DataError, match=r"row 6: no number"):
        read_text(tmp_path, table.to_csv(index=False))
    found = read_text(tmp_path, table.to_csv(index=False), skip_unusable=True)
    check_same(found, rows=[row for row in range(COUNT) if row != 4])
    assert found.left_out == {"without a score": 1}


def test_labels_in_other_words_case_and_numbers():
    words = {"covid": "COVID-19", "no_finding": "Normal", "pneumonia": "PNEUMONIA"}
    found = read(frame(columns=[words[name] for name in CLASSES], y_true=[words[label] for label in LABELS]))
    check_same(found)
    for numbers in (["0", "1", "2"], ["0.0", "1.0", "2.0"], ["3", "1", "2"]):
        meaning = dict(zip(CLASSES, numbers, strict=True))
        check_same(read(frame(columns=[f"class_{meaning[name]}".removesuffix(".0") for name in CLASSES],
                              target=[meaning[label] for label in LABELS])))  # fmt: skip
    sick = {"covid": "sick A", "no_finding": "well", "pneumonia": "sick B"}
    table = frame(columns=[f"prob_{sick[name]}" for name in CLASSES], true_label=[sick[label] for label in LABELS])
    check_same(read(table))  # what no word means, every row proves
    with pytest.raises(UsageError, match="--classes"):
        read(table.drop(columns="true_label"))


def test_numbers_without_labels_are_asked_for():
    with pytest.raises(UsageError, match=r"--classes 0=covid,1=no_finding,2=pneumonia in your model's order"):
        read(frame(columns=["prob_0", "prob_1", "prob_2"]))
    turned = {"0": "pneumonia", "1": "covid", "2": "no_finding"}
    found = read(frame(columns=["prob_0", "prob_1", "prob_2"]), class_names=turned)
    np.testing.assert_allclose(probabilities(found, ("pneumonia", "covid", "no_finding")), softmax())


def test_labels_that_differ_from_the_manifests():
    wrong = [*LABELS[:-1], "covid" if LABELS[-1] != "covid" else "pneumonia"]
    with pytest.raises(UsageError, match=r"row 12: column 'y_true' says .*1 row of 12.*--truth manifest or --truth predictions"):
        read(frame(y_true=wrong))
    check_same(read(frame(y_true=wrong), truth="manifest"))
    assert read(frame(y_true=wrong), truth="predictions").scored[0].labels.tolist() == wrong
    codes = [CLASSES.index(label) for label in wrong]
    with pytest.raises(UsageError, match="do not go one to one"):
        read(frame(columns=["0", "1", "2"], y_true=codes))
    unlabeled = manifest(labels=[""] * COUNT)
    check_same(read(frame(y_true=LABELS), unlabeled))


def test_a_column_called_label_is_what_the_rows_say_it_is():
    best = [CLASSES[code] for code in softmax().argmax(1)]
    assert best != LABELS
    check_same(read(frame(label=LABELS)))
    check_same(read(frame(label=best)))
    neither = [*best[:-1], next(name for name in CLASSES if name not in (best[-1], LABELS[-1]))]
    with pytest.raises(UsageError, match=r"--label-column .* or --predicted-column"):
        read(frame(label=neither))


def test_labels_alone():
    best = [CLASSES[code] for code in softmax().argmax(1)]
    for column in ("predicted", "y_pred", "label", "top1"):
        found = read(pd.DataFrame({"image": PATHS, column: best}))
        assert found.labels_only and probabilities(found).argmax(1).tolist() == softmax().argmax(1).tolist()
    with pytest.raises(UsageError, match="may hold no predictions"):
        read(pd.DataFrame({"image": PATHS, "label": LABELS}))
    assert read(pd.DataFrame({"image": PATHS, "label": LABELS}), columns=ColumnChoice(answer="label")).labels_only
    with pytest.raises(UsageError, match="no column of scores or of predicted labels"):
        read(pd.DataFrame({"image": PATHS}))


def test_classes_without_images_and_images_without_a_class():
    four = softmax((*CLASSES, "tuberculosis"))
    found = read(frame(four, columns=[*CLASSES, "tuberculosis"]))
    np.testing.assert_allclose(probabilities(found, (*CLASSES, "tuberculosis")), four)
    two = softmax(("covid", "pneumonia"))
    with pytest.raises(UsageError, match="4 images labeled no_finding have no column of scores"):
        read(frame(two, columns=["covid", "pneumonia"]))
    found = read(frame(two, columns=["covid", "pneumonia"]), leave_out=("no_finding",))
    assert found.left_out == {"labeled no_finding": 4} and len(found.rows) == 8
    merged = read(frame(two, columns=["covid", "rest"]), class_names={"no_finding": "rest", "pneumonia": "rest"})
    assert merged.scored[0].labels.tolist() == [label if label == "covid" else "rest" for label in LABELS]


TWO = [label if label != "no_finding" else "covid" for label in LABELS]
LOGITS = np.log(softmax()) + np.linspace(-3, 1, COUNT)[:, None]
FORMS = {"logits": (LOGITS, "auto"), "largest": (softmax() * 0.7 + 0.15, "largest"), "logs": (np.log(softmax()), "auto"),
         "probabilities": (softmax(), "auto"), "percent": (softmax() * 100, "auto"),
         "positive": (LOGITS + 9, "logits")}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", [TWO, ["covid"] * COUNT], ids=["two", "one"])
@pytest.mark.parametrize("columns", [CLASSES, [f"prob_{name}" for name in CLASSES], ["COVID-19", "Normal", "Pneumonia"]])
def test_an_answer_of_a_class_that_no_image_has_is_wrong(form, labels, columns):
    values, asked = FORMS[form]
    found = read(frame(values[:, [0, 1, 2]], columns=columns), manifest(labels=labels), scores=asked)
    (part,) = found.scored
    wrong = [part.classes[place] not in labels for place in part.probabilities.argmax(1)]
    absent = [name not in labels for name in CLASSES]
    assert sum(wrong) == np.array(absent)[values.argmax(1)].sum() > 0


def test_whether_a_column_of_an_unknown_word_competes_is_asked_for():
    """The name of a disease and of a measurement look alike; that of a column of `prob_` or of a predicted label does not."""
    table, rows = frame(LOGITS, columns=["covid", "tuberculosis", "pneumonia"]), manifest(labels=TWO)
    with pytest.raises(UsageError, match=r"tuberculosis may be .*--classes tuberculosis=tuberculosis .*--probability"):
        read(table, rows)
    said = read(table, rows, class_names={"tuberculosis": "tuberculosis"})
    without = read(table, rows, columns=ColumnChoice(scores={"covid": "covid", "pneumonia": "pneumonia"}))
    words = read(table.assign(predicted="tuberculosis"), rows)
    named = read(table.rename(columns={name: f"{name}_logit" for name in table.columns[1:]}), rows)
    for found in (said, words, named):
        np.testing.assert_allclose(probabilities(found, ("covid", "tuberculosis", "pneumonia")), softmax())
    assert without.scored[0].classes == ("covid", "pneumonia")
    further = table.drop(columns="tuberculosis").assign(confidence=0.5, follow_up_days=range(COUNT), age=40.5)
    assert read(further, rows).scored[0].classes == ("covid", "pneumonia")


def test_columns_of_one_class_are_not_passed_over():
    scores = {"COVID-19": "a", "covid": "b", "pneumonia": "c"}
    with pytest.raises(UsageError, match="may both be scores of covid"):
        read(frame(columns=["a", "b", "c"]), manifest(labels=TWO), columns=ColumnChoice(scores=scores))
    twice = frame(LOGITS).assign(Normal=1.5).rename(columns={"no_finding": "prob_Normal"})
    with pytest.raises(UsageError, match="may both be scores of Normal"):
        read(twice, manifest(labels=TWO))


@pytest.mark.parametrize("word", ["no_finding", "something else"])
def test_a_predicted_label_that_no_column_is_of_is_another_class(word):
    two = frame(softmax(("covid", "pneumonia")), columns=["covid", "pneumonia"], predicted=word)
    found = read(two, manifest(labels=TWO))
    assert any("largest score in 12 rows" in note and f"no column of scores is of {word}" in note for note in found.notes)
    best = np.array(["covid", "pneumonia"])[softmax(("covid", "pneumonia")).argmax(1)]
    same = read(two.assign(predicted=best), manifest(labels=TWO))
    assert not any("largest score" in note for note in same.notes)
    rest = read(frame(softmax()[:, :1], columns=["covid"], predicted=word), manifest())
    above = int((softmax()[:, 0] >= 0.5).sum())
    assert any(f"largest score in {above} rows" in note for note in rest.notes)  # any other word is the rest


def test_a_class_called_rest_has_its_column():
    rows = manifest(labels=[label if label == "covid" else "rest" for label in LABELS])
    found = read(pd.DataFrame({"image": PATHS, "covid": softmax()[:, 0]}), rows)
    assert found.scored[0].classes == ("covid", "rest")
    assert not any("without a column" in note for note in found.notes)
    several = read(pd.DataFrame({"image": PATHS, "covid": softmax()[:, 0]}))
    assert any("without a column count as rest: no_finding, pneumonia" in note for note in several.notes)


def test_our_own_predictions_with_a_side():
    sides = ["train"] * 4 + ["valid"] * 6 + ["left_out", "external:other"]
    table = frame(columns=[f"probability_{name}" for name in CLASSES], label=LABELS, side=sides, patient="x", ood_score=0.5)
    found = read(table)
    check_same(found, rows=range(4, 10))
    assert found.trained.tolist() == [0, 1, 2, 3] and set(found.sides) == {"valid"}


def test_columns_are_named_by_a_person():
    table = frame(columns=["a", "b", "c"]).rename(columns={"image": "Where"}).assign(other=np.arange(COUNT))
    scores = {"covid": "a", "no_finding": "b", "pneumonia": "C"}
    check_same(read(table, columns=ColumnChoice(image="where", scores=scores)))
    with pytest.raises(UsageError, match="no such column; it has Where, a, b, c, other"):
        read(table, columns=ColumnChoice(image="nowhere", scores=scores))
    two = frame().assign(filename=list(reversed(PATHS)))
    with pytest.raises(UsageError, match="name different images"):
        read(two)
    check_same(read(two, columns=ColumnChoice(image="image")))


@pytest.mark.parametrize(
    "text",
    ["", "image,covid", "image,covid\n", "\x00\x01\x02", '"image,covid\na,1', "PK\x03\x04", "image,image\na,b",
     "a;b,c\n1;2,3;4\n", HEADER + "images/covid/p000.png,1,2", HEADER + "images/covid/p000.png,,,\n",
     HEADER + "images/covid/p000.png,a,b,c\n"],
)  # fmt: skip
def test_what_is_no_table_of_predictions_ends_in_one_line(tmp_path, text):
    with pytest.raises(DarkCovidError) as refused:
        read_text(tmp_path, text)
    assert "\n" not in str(refused.value) and refused.value.exit_code in (2, 3)


def test_any_table_is_read_soundly_or_refused_in_one_line(tmp_path):
    """Columns of every name and cells of every kind, put together at random."""
    random = np.random.default_rng(0)
    known = ["path", "label", "y_true", "pred", "prob_covid", "covid", "no_finding", "pneumonia", "0", "1", "2", "score", "side"]
    columns = [*known, "", "id", 'a "b\nc']
    odd = ["", "nan", "1", "0,7", "97%", "x", "-1.5", "[0.1,0.9]", "1e400", "\x00", "COVID-19", "inf", "images\\covid\\p000.png"]
    refused, sound = 0, 0
    for _ in range(300):
        names = ["image", *random.permutation(columns)[: random.integers(1, 6)]]
        cells = {
            name: PATHS if name in ("image", "path") else LABELS if name in ("label", "y_true", "pred") else random.random(COUNT)
            for name in dict.fromkeys(names)
        }
        table = pd.DataFrame(cells).astype(object)
        for _ in range(random.integers(0, 3)):
            table.iloc[random.integers(COUNT), random.integers(len(table.columns))] = random.choice(odd)
        scores = random.choice(["auto", "largest", "per-finding", "logits"])
        try:
            found = read_text(
                tmp_path, table.to_csv(index=False), scores=str(scores), positive="covid", skip_unusable=bool(random.integers(2))
            )
        except DarkCovidError as error:
            assert "\n" not in str(error) and error.exit_code in (2, 3)
            refused += 1
            continue
        sound += 1
        assert len(set(found.rows)) == len(found.rows)
        for part in found.scored:
            assert len(part.labels) == len(part.probabilities) == len(found.rows)
            assert set(part.labels) <= set(part.classes)
            np.testing.assert_allclose(part.probabilities.sum(1), 1)
    assert min(refused, sound) > 30
