"""Do the fast arms end where stock fastai ends? Each trained from several seeds for the same number of epochs, on one split.

`python docs/results/accuracy.py CACHE MANIFEST EPOCHS SEEDS...` adds one JSON line per fit to `accuracy.jsonl` beside the cache;
fits that are there already are passed by.
"""

import json
import sys
from pathlib import Path

from fastai.callback.core import Callback
from fastai.torch_core import set_seed

from darkcovid.core.warnings import silence_known_warnings
from darkcovid.experiment.benchmark import STOCK, build_trainer, select_benchmark_arms
from darkcovid.recipe import load_recipe


class LastAccuracy(Callback):
    """The validation accuracy of the last epoch."""

    def before_validate(self):
        self.right = self.seen = 0

    def after_pred(self):
        if not self.training:
            self.right += int((self.pred.argmax(1) == self.yb[0]).sum())
            self.seen += len(self.pred)

    @property
    def value(self) -> float:
        return self.right / self.seen


def main(cache: Path, manifest: str, epochs: int, seeds: list[int]) -> None:
    silence_known_warnings()
    kept = cache.parent / "accuracy.jsonl"
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    for seed in seeds:
        recipe = load_recipe("recipes/segmented.yaml", [f"data.manifest={manifest}", f"training.seed={seed}", "audit=none"])
        whole, crop = select_benchmark_arms(recipe)
        for label, arm in ((STOCK, whole), ("whole", whole), ("crop", crop)):
            fit = {"fit": label, "seed": seed, "epochs": epochs}
            if any(one.items() >= fit.items() for one in done):
                continue
            set_seed(seed)
            last = LastAccuracy()
            build_trainer(label, arm, recipe, cache)(epochs, [last])
            with kept.open("a") as file:
                file.write(json.dumps(fit | {"accuracy": last.value}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), [int(word) for word in sys.argv[4:]])
