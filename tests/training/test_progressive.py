import pytest

from darkcovid.core.errors import UsageError
from darkcovid.recipe import Model, Progressive
from darkcovid.training.callbacks import PlainErrorsCallback
from darkcovid.training.classifier import build_model
from darkcovid.training.fit import FitOptions
from darkcovid.training.progressive import image_size_at_epoch
from darkcovid.vision.learner import classifier_learner

from .test_schedule import changed


def test_sides_grow_in_steps_of_32_to_the_whole():
    grow = Progressive(start=0.5, until=0.5)
    sizes = [image_size_at_epoch((256, 192), grow, epoch, 8) for epoch in range(8)]
    assert sizes == [(128, 96), (160, 128), (192, 128), (224, 160), *[(256, 192)] * 4]
    assert image_size_at_epoch((64, 40), Progressive(start=0.1), 0, 8) == (32, 32)


class Sizes(PlainErrorsCallback):
    """What the network gets to see, in training and in validation."""

    order = 50

    def __init__(self):
        self.seen = {True: [], False: []}

    def before_batch(self):
        self.seen[bool(self.training)].append(tuple(self.xb[0].shape[-2:]))


def test_training_sees_small_pictures_first_and_validation_whole_ones(tiny_recipe, cohort, pixels, cpu):
    recipe = changed(tiny_recipe, Model(head="gap"), progressive_resizing=Progressive(start=0.5, until=0.6), epochs=3)
    sizes = Sizes()
    result = classifier_learner(recipe, cohort, pixels, cpu).fit_recipe(FitOptions(callbacks=[sizes]))
    steps = len(sizes.seen[True]) // 3
    assert [sizes.seen[True][steps * epoch] for epoch in range(3)] == [(32, 32), (64, 64), (64, 64)]
    assert set(sizes.seen[False]) == {(64, 64)}
    assert len(result.fitted.history.rows) == 3


def test_a_network_of_one_size_is_refused(tiny_recipe):
    recipe = changed(tiny_recipe, progressive_resizing=Progressive())
    with pytest.raises(
        UsageError, match=r"training.progressive_resizing: this network takes images of 64x64 only, .* model.head=gap"
    ):
        build_model(recipe, 3, (64, 64))
    assert build_model(changed(recipe, Model(head="gap")), 3, (64, 64)).training
