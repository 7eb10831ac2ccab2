"""How fast is it against stock fastai? One epoch of each in turn, in one process tree, on the same images and split.

Stock fastai trains the network as its authors wrote it, in float32. Of ours nothing is set in its process but the number of
threads that a container's quota allows. Each contender lives in a process of its own, so that memory can be told apart; only
one works at a time.
"""

import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from darkcovid.core.cpu_threads import WAITING, choose_cpu_threads
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.core.log import logger
from darkcovid.core.processor import matrix_features, processor_name
from darkcovid.core.slow_progress import slow_step
from darkcovid.core.warnings import silence_known_warnings
from darkcovid.evaluation.benchmark_result import BenchmarkResult, ContenderTiming
from darkcovid.recipe import Recipe

SAMPLE_SECONDS = 0.5
STOCK = "stock"
EPOCH, STAGES = "epoch", "stages"  # what a process may be told


def select_benchmark_arms(recipe: Recipe) -> tuple[str, str]:
    """The names of the recipe's first arm on whole images, and of its first crop arm of the same network, both trained by epochs.

    Raises:
        UsageError: One is missing.
    """
    arms = {name: arm for name, arm in recipe.arm_recipes().items() if not arm.model.is_probe}
    whole = {name: arm for name, arm in arms.items() if arm.lungs is None}
    crops = {name: arm for name, arm in arms.items() if arm.lungs is not None and arm.lungs.mode == "crop"}
    pairs = [(name, other) for name in whole for other in crops if crops[other].model == whole[name].model]
    if not pairs:
        lacking = "no pair of one network" if whole and crops else "no crop arm" if whole else "no arm on whole images"
        raise UsageError(
            "arms: bench needs an arm on whole images and one of the same network with lungs.mode crop, both trained by epochs; "
            f"{recipe.name} has {lacking}; darkcovid bench segmented has both"
        )
    return pairs[0]


@dataclass
class BenchmarkProcess:
    """A process that trains, and waits before every epoch until it is told to continue.

    Attributes:
        process: As multiprocessing gives it.
        pipe: To the process.
        epochs: `epoch_seconds`, `images_per_second` and validation `accuracy` of each counted epoch.
        stages: Seconds of one more epoch by stage.
        peak_host_bytes: Of the process and its children, sampled every half second.
        peak_device_bytes: Of the device.
    """

    process: Any
    pipe: Connection
    epochs: list[dict[str, float]] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    peak_host_bytes: int = 0
    peak_device_bytes: int = 0

    def answer(self) -> Any:
        """The process's next message.

        Raises:
            DarkCovidError: The process failed, with its message, or died.
        """
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            raise DarkCovidError("a bench process ended early; run the recipe itself to see why") from None
        if kind == "error":
            raise DarkCovidError(f"a bench process failed: {value}")
        return value

    def run_epoch(self) -> None:
        """A counted epoch: `epoch_seconds`, `images_per_second`, and `accuracy` on the validation set."""
        self.epochs.append(self._ask(EPOCH))

    def run_stages(self) -> None:
        """An epoch with a stopwatch, which waits for the device at every stage, and the device's peak memory so far."""
        self.stages = self._ask(STAGES)
        self.peak_device_bytes = int(self.stages.pop("peak_device_bytes"))

    def _ask(self, what: str) -> dict[str, float]:
        with suppress(OSError):  # a process that is gone is told by its missing answer
            self.pipe.send(what)
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,), daemon=True)
        watcher.start()
        try:
            return self.answer()
        finally:
            done.set()
            watcher.join()

    def _watch(self, done: threading.Event) -> None:
        while True:
            self.peak_host_bytes = max(self.peak_host_bytes, process_tree_memory(self.process.pid))
            if done.wait(SAMPLE_SECONDS):
                return

    def timing(self) -> ContenderTiming:
        """Medians over the counted epochs."""
        seconds = [row["epoch_seconds"] for row in self.epochs]
        return ContenderTiming(
            epoch_seconds=statistics.median(seconds),
            images_per_second=statistics.median(row["images_per_second"] for row in self.epochs),
            all_epoch_seconds=seconds,
            peak_host_bytes=self.peak_host_bytes,
            peak_device_bytes=self.peak_device_bytes,
            stages=self.stages,
        )


def bench(recipe: Recipe, cache_dir: Path, repeats: int) -> BenchmarkResult:
    """Time stock fastai, the whole-image arm and the crop arm in turn.

    An epoch is training and validation; images per second are its training images over its whole time.

    Args:
        recipe: With a whole-image arm and a crop arm.
        cache_dir: Where decoded images are kept.
        repeats: Counted epochs of each, after one warm-up that is not counted.

    Returns:
        Medians over the epochs, peak bytes, and the seconds of one further epoch spent on data, forward, backward, optimizer,
        validation and other.

    Raises:
        UsageError: The recipe lacks one of the arms.
        DarkCovidError: One of the processes failed.
    """
    whole, crop = select_benchmark_arms(recipe)
    contenders: dict[str, BenchmarkProcess] = {}
    try:
        for label, arm in ((STOCK, whole), ("whole", whole), ("crop", crop)):
            contenders[label] = start_contender(label, arm, recipe, cache_dir, repeats + 2)
        for turn in range(repeats + 1):
            for label, contender in contenders.items():
                contender.run_epoch()
                turn_name = f"epoch {turn}/{repeats}" if turn else "warm-up"
                logger.info(f"{turn_name} {label}: {contender.epochs[-1]['epoch_seconds']:.1f} s")
                if turn == 0:
                    contender.epochs.clear()
        logger.info("one more epoch of each with a stopwatch")
        for contender in contenders.values():
            contender.run_stages()
    finally:
        for contender in contenders.values():
            contender.process.kill()
    timings = {label: contender.timing() for label, contender in contenders.items()}
    return BenchmarkResult(**timings, machine=describe_machine(recipe))


def describe_machine(recipe: Recipe) -> dict[str, Any]:
    """What the seconds of a benchmark depend on.

    Args:
        recipe: Whose `training.device` and `precision` the arms have.

    Returns:
        `processor`, its matrix `features`, `threads`, `device` and `precision`.
    """
    import torch

    from darkcovid.core.device import get_device

    compute = get_device(recipe.training.device, recipe.training.precision)
    device = torch.cuda.get_device_name() if compute.device.type == "cuda" else compute.device.type
    return {
        "processor": processor_name(),
        "features": matrix_features(),
        "threads": torch.get_num_threads(),
        "device": device,
        "precision": compute.precision,
    }


def process_tree_memory(pid: int) -> int:
    """Memory of a process and its children in bytes: proportional set sizes where the system tells them, else resident."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            info = process.memory_full_info()
            total += getattr(info, "pss", info.rss)
    except psutil.Error:
        pass
    return total


def start_contender(label: str, arm: str, recipe: Recipe, cache_dir: Path, epochs: int) -> BenchmarkProcess:
    """A process that has prepared its images and waits before its first epoch.

    Args:
        label: "stock", "whole" or "crop".
        arm: The arm's name.
        recipe: Of the whole benchmark.
        cache_dir: Where decoded images are kept.
        epochs: Of its schedule.

    Returns:
        The process; the caller kills it.

    Raises:
        DarkCovidError: It failed.
    """
    logger.info(f"preparing {label}")
    process = _spawn(label, arm, recipe, cache_dir, epochs)
    try:
        with slow_step(f"{label}: reading images and building the network"):
            process.answer()
    except BaseException:
        process.process.kill()
        raise
    return process


def _spawn(label: str, arm: str, recipe: Recipe, cache_dir: Path, epochs: int) -> BenchmarkProcess:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_worker_main, args=(theirs, label, arm, recipe.model_dump(mode="json"), cache_dir, epochs))
    with _without(WAITING if label == STOCK else None):  # as many threads for each; how they wait is ours
        process.start()
    theirs.close()
    return BenchmarkProcess(process, ours)


@contextmanager
def _without(variable: str | None) -> Iterator[None]:
    """A context without an environment variable that was chosen for our own contenders."""
    chosen = {name: value for name, value in choose_cpu_threads().chosen.items() if name == variable}
    for name in chosen:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(chosen)


def _worker_main(pipe: Connection, label: str, arm: str, recipe: dict, cache_dir: Path, epochs: int) -> None:
    silence_known_warnings()
    if sys.platform == "linux":
        multiprocessing.set_start_method("fork", force=True)  # what stock fastai's workers use when it is run plainly
    try:
        resolved = Recipe.model_validate(recipe, strict=False)
        train = build_trainer(label, arm, resolved, cache_dir)
        pipe.send(("ready", None))
        train(epochs, _sync_callbacks(pipe, resolved.training.device))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return  # the parent is gone
    except Exception as error:  # noqa: BLE001 (whatever it is, the parent must hear of it)
        with suppress(OSError):
            pipe.send(("error", f"{type(error).__name__}: {one_line(error)}"))


def _sync_callbacks(pipe: Connection, device: str) -> list:
    """Callbacks that begin an epoch when told to, and tell what it took."""
    import torch

    from darkcovid.core.device import get_device
    from darkcovid.training.callbacks import PlainErrorsCallback
    from darkcovid.training.loss import class_probabilities
    from darkcovid.training.profiler import StageTimer

    compute = get_device(device)
    stopwatch = StageTimer(compute)

    class Pace(PlainErrorsCallback):
        order = -200

        def before_epoch(self):
            self.command = pipe.recv()
            stopwatch.restart(running=self.command == STAGES)
            compute.synchronize()
            self.started = time.perf_counter()

        def before_validate(self):
            self.right, self.seen = 0, 0

        def after_batch(self):
            if not self.training:
                predicted = class_probabilities(torch.Tensor(self.pred)).argmax(1)
                self.right = self.right + (predicted == torch.Tensor(self.yb[0])).sum()
                self.seen += len(predicted)

        def after_epoch(self):
            compute.synchronize()
            seconds = time.perf_counter() - self.started
            if self.command == STAGES:
                peak = torch.cuda.max_memory_allocated() if compute.device.type == "cuda" else 0
                pipe.send(("done", stopwatch.seconds | {"peak_device_bytes": peak}))
            else:
                images = self.dls.train.n // self.dls.train.bs * self.dls.train.bs
                accuracy = float(self.right) / max(1, self.seen)
                done = {"epoch_seconds": seconds, "images_per_second": images / seconds, "accuracy": accuracy}
                pipe.send(("done", done))

    return [Pace(), stopwatch]


def build_trainer(label: str, arm: str, recipe: Recipe, cache_dir: Path) -> Callable:
    """What trains one contender.

    Args:
        label: "stock", "whole" or "crop".
        arm: The arm's name.
        recipe: Of the whole benchmark.
        cache_dir: Where decoded images are kept.

    Returns:
        A function of the number of epochs and of more fastai callbacks.
    """
    from darkcovid.core.device import get_device
    from darkcovid.data.cohort import load_classification_cohort
    from darkcovid.vision.arm_inputs import InputBuilder

    cohort = load_classification_cohort(recipe.data, cache_dir)
    builder = InputBuilder(recipe, cohort, get_device(recipe.training.device), cache_dir)
    if label == STOCK:
        return _fastai_trainer(builder.arms[arm], cohort, builder.size(arm))
    return _darkcovid_trainer(cohort, builder.make(arm))


def _darkcovid_trainer(cohort, inputs) -> Callable:
    from darkcovid.core.device import get_device
    from darkcovid.training.fit import FitOptions, fit
    from darkcovid.vision.learner import classifier_learner

    training = inputs.recipe.training
    compute = get_device(training.device, training.precision)
    learner = classifier_learner(inputs.recipe, cohort, inputs.pixels, compute, inputs.areas)

    def train(epochs: int, callbacks: list) -> None:
        several = training.model_copy(update={"epochs": epochs, "early_stopping_patience": None})  # all epochs are timed
        options = FitOptions(callbacks=callbacks)
        score = learner.objective.correct
        fit(learner.trained_part(), several, compute, metric="accuracy", score=score, options=options)

    return train


def _fastai_trainer(recipe: Recipe, cohort, size: tuple[int, int]) -> Callable:
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        IndexSplitter,
        Learner,
        Resize,
        accuracy,
        aug_transforms,
    )

    from darkcovid import models

    labels = [cohort.classes[label] for label in cohort.labels]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(cohort.classes), sort=False)),
        get_x=lambda row: cohort.files[row],
        get_y=lambda row: labels[row],
        splitter=IndexSplitter(np.flatnonzero(cohort.valid).tolist()),
        item_tfms=Resize(size),
        batch_tfms=aug_transforms(),
    )
    dls = block.dataloaders(list(range(len(cohort))), bs=recipe.training.batch_size)
    architecture = models.get_architecture(recipe.model.arch)
    of_three_channels = recipe.model.model_copy(update={"grayscale": False})  # as fastai opens images
    network = (architecture.published or architecture.build)(of_three_channels, len(cohort.classes), size)
    learner = Learner(dls, network, metrics=accuracy)

    def train(epochs: int, callbacks: list) -> None:
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(epochs, recipe.training.lr, cbs=callbacks)

    return train
