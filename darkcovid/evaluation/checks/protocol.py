"""Checks 13 to 18: was the experiment one that can be believed?"""

from darkcovid.evaluation.checks.listing import AUTHOR, PASS, WARN, Answer, Evidence, check


@check(13, "protocol", "split before anything is fitted")
def _split_first(e: Evidence) -> Answer:
    return PASS, "normalisation, thresholds, temperature and stopping see the training and validation sides only"


@check(14, "protocol", "the test side scored once")
def _test_once(e: Evidence) -> Answer:
    if any("test" in arm for arm in e.arms.values()):
        return AUTHOR, "a test side was scored once in this run; say how many runs looked at it before"
    return WARN, "no test side was held out (data.split.test): the validation side stands in for it"


@check(15, "protocol", "folds and seeds, not the best of them")
def _folds(e: Evidence) -> Answer:
    folds, seeds = e.recipe["training"].get("folds"), e.recipe["training"].get("seeds")
    if folds or (seeds and len(seeds) > 1):
        return PASS, f"{folds or 'no'} folds, {len(seeds) if seeds else 1} seeds, all of them pooled"
    return WARN, "one split and one seed: training.folds and training.seeds show more"


@check(16, "protocol", "which epoch is kept")
def _epoch(e: Evidence) -> Answer:
    training, test = e.recipe["training"], any("test" in arm for arm in e.arms.values())
    words = f"the {training['keep']} epoch, declared in the recipe"
    looked = [key for key in ("stop_after", "plateau") if training.get(key)]
    looked += ["keep"] if training["keep"] == "best" else []
    if test or not looked:
        return PASS, words
    return WARN, f"{words}; {', '.join(looked)}: decided by the validation side that is also reported"


@check(17, "protocol", "augmentations")
def _augmentations(e: Evidence) -> Answer:
    augment = e.recipe["data"]["augment"]
    flips = augment != "none" if isinstance(augment, str) else augment.get("flip", 0) > 0
    words = f"{augment if isinstance(augment, str) else 'spelt out in the recipe'}"
    return (WARN, f"{words}: mirrored images put the heart on the right side") if flips else (PASS, words)


@check(18, "protocol", "the same budget for every arm")
def _budget(e: Evidence) -> Answer:
    epochs = {name: arm["epochs"] for name, arm in e.arms.items()}
    words = ", ".join(f"{name} {count}" for name, count in epochs.items())
    return (PASS if len(set(epochs.values())) == 1 else WARN), f"epochs: {words}"
