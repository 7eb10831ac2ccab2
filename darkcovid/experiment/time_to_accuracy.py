"""A race to an accuracy: stock fastai, whole images and crops train in turn on the same images and split, in one process tree."""

from pathlib import Path

from darkcovid.core.log import logger
from darkcovid.evaluation.time_to_accuracy import AccuracyCurve, TimeToAccuracy
from darkcovid.experiment.benchmark import STOCK, BenchmarkProcess, describe_machine, select_benchmark_arms, start_contender
from darkcovid.recipe import Recipe
from darkcovid.training.schedule import total_epochs


def time_to_accuracy(recipe: Recipe, cache_dir: Path, target: float) -> TimeToAccuracy:
    """Train each contender until its smoothed validation accuracy reaches a target, or its schedule ends.

    The next epoch is always that of the contender that has trained for the shortest time, so that other work on the machine slows
    all of them. Stock fastai has the learning rate, batch size and epochs of the whole-image arm, in one cycle. Validation
    counts; reading and preparing images do not.

    Args:
        recipe: With a whole-image arm and a crop arm.
        cache_dir: Where decoded images are kept.
        target: Accuracy on the validation set, 0..1.

    Returns:
        Accuracy over seconds of each contender.

    Raises:
        UsageError: The recipe lacks one of the arms.
        DarkCovidError: One of the processes failed.
    """
    whole, crop = select_benchmark_arms(recipe)
    arms = {STOCK: whole, "whole": whole, "crop": crop}
    epochs = {label: total_epochs(recipe.arm_recipes()[arm]) for label, arm in arms.items()}
    contenders: dict[str, BenchmarkProcess] = {}
    try:
        for label, arm in arms.items():
            contenders[label] = start_contender(label, arm, recipe, cache_dir, epochs[label])
        curves = {label: _curve(process, epochs[label]) for label, process in contenders.items()}
        racing = set(contenders)
        while racing:
            label = min(racing, key=lambda name: (curves[name].seconds or [0.0])[-1])
            contenders[label].run_epoch()
            curves[label] = curve = _curve(contenders[label], epochs[label])
            done = len(curve.seconds)
            logger.info(f"{label} epoch {done}/{epochs[label]}: {curve.seconds[-1]:.1f} s, accuracy {curve.accuracy[-1]:.3f}")
            if curve.reached(target) is not None or done == epochs[label]:
                racing.discard(label)
                contenders[label].process.kill()
    finally:
        for contender in contenders.values():
            contender.process.kill()
    return TimeToAccuracy(target, curves, describe_machine(recipe))


def _curve(process: BenchmarkProcess, epochs: int) -> AccuracyCurve:
    rows = process.epochs
    return AccuracyCurve.of([row["epoch_seconds"] for row in rows], [row["accuracy"] for row in rows], epochs)
