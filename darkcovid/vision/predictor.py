"""A fitted run in a notebook: images in, a table of predictions out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from darkcovid.inference.image_files import ImageRef, find_images
from darkcovid.inference.predict_files import overlay_heatmap, predict_images
from darkcovid.inference.predictor import Prediction, load_pipeline
from darkcovid.metrics.classification import probability_columns
from darkcovid.vision.images import open_gray

SAID = ["answer", "class_set", "ood_score", "lungs_trusted", "warnings"]


class Predictor:
    """The classifier of a finished run. Research software, never a diagnosis.

    Args:
        run: The run's folder, or an arm's or a fit's below it.
        arm: Its name; None: the arm with the best balanced accuracy on the validation set.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        UsageError: Not a run of classifiers, or no such arm.
        DataError: Its weights are missing or damaged.
    """

    def __init__(self, run: Any, arm: str | None = None, device: str = "auto"):
        self.pipeline = load_pipeline(Path(getattr(run, "path", run)), arm, device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.pipeline.model.classes

    def predict(self, images: str | Path | Sequence[str | Path]) -> pd.DataFrame:
        """Predictions of files.

        Args:
            images: A file, a folder, a manifest, or a list of files.

        Returns:
            A row per image: image, label, `probability_<class>` (calibrated), and answer, class_set, ood_score, lungs_trusted and
            warnings as `Prediction` has them; label is None where the file cannot be read, and the warning says why.

        Raises:
            UsageError: No such path, or no image in it.
        """
        if isinstance(images, (str, Path)):
            files = find_images(Path(images).expanduser())
        else:
            files = [ImageRef(str(file), Path(file).expanduser()) for file in images]
        table = pd.DataFrame(predict_images(self.pipeline, files))
        if table.empty:
            return pd.DataFrame(columns=["image", "label", *self._columns(), *SAID])
        probabilities = pd.DataFrame([row or {} for row in table.probabilities], columns=list(self.classes))
        probabilities.columns = self._columns()
        return pd.concat([table[["image", "label"]], probabilities, table[SAID]], axis=1)

    def predict_one(self, image: Any, explain: bool = False) -> Prediction:
        """The prediction of one image.

        Args:
            image: A path, a PIL image or an array, as `open_gray` takes it.
            explain: Whether a Grad-CAM heatmap comes with it.

        Returns:
            Label, probabilities, lungs, warnings, and the heatmap.

        Raises:
            DataError: The file is not a readable image.
        """
        return self.pipeline([open_gray(image)], explain)[0]

    def explain(self, image: Any, ax: Any = None) -> Any:
        """Draw an image under its Grad-CAM heatmap, with the prediction as its title.

        Args:
            image: As in `predict_one`.
            ax: matplotlib's axes; None: new ones.

        Returns:
            The axes.

        Raises:
            DataError: The file is not a readable image.
        """
        gray = open_gray(image)
        prediction = self.pipeline([gray], explain=True)[0]
        axes = plt.subplots(figsize=(4, 4))[1] if ax is None else ax
        axes.imshow(gray if prediction.heat is None else overlay_heatmap(gray, prediction.heat), cmap="gray")
        axes.set_title(f"{prediction.label} ({prediction.probabilities[prediction.label]:.2f})")
        axes.axis("off")
        return axes

    def _columns(self) -> list[str]:
        return probability_columns(self.classes)
