"""How training images are altered: ranges and probabilities, and the named sets of them that published systems used."""

from typing import Annotated, Literal

from pydantic import Field

from darkcovid.recipe.strict_model import StrictModel

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Annotated[float, Field(gt=0.05, le=20)], Annotated[float, Field(gt=0.05, le=20)]]


class Augmentation(StrictModel):
    """Ranges and probabilities, drawn again for each image of a batch, on its device."""

    flip: Share = 0.0
    """Probability of a left-right flip."""
    flip_vertical: Share = 0.0
    """Probability of an upside-down flip."""
    rotate: float = Field(default=0.0, ge=0, le=180)
    """Greatest rotation either way, in degrees."""
    shift: Share = 0.0
    """Greatest shift along each axis, as a share of the side."""
    shear: float = Field(default=0.0, ge=0, lt=90)
    """Greatest shear, in degrees, as in Keras."""
    zoom: Range = (1.0, 1.0)
    """Least and greatest magnification, as in fastai."""
    zoom_range: Range = (1.0, 1.0)
    """Least and greatest share of the image that is seen, each axis by itself, as Keras's `zoom_range`."""
    perspective: float = Field(default=0.0, ge=0, lt=0.5)
    """Greatest perspective tilt, fastai's `max_warp`."""
    perspective_by: Literal["axis", "side"] = "axis"
    """`axis`: a tilt about each axis with a probability of its own (fastai v2); `side`: four magnitudes, one for each side of
    the frame, with one probability for all (fastai v1's `symmetric_warp`)."""
    lighting: float = Field(default=0.0, ge=0, lt=1)
    """Greatest change of brightness and of contrast, fastai's `max_lighting`."""
    channel_shift: float = Field(default=0.0, ge=0, le=255)
    """Greatest shift of all gray levels, of 255, as Keras's `channel_shift_range`."""
    p_affine: Share = 1.0
    """Probability of each geometric change but the flips."""
    p_lighting: Share = 1.0
    """Probability of each change of lighting."""
    padding: Literal["reflection", "border", "zeros"] = "reflection"
    """What is seen beyond the image's sides."""
    random_erasing: Share = 0.0
    """Probability that one to three patches become noise."""
    consolidation: Share = 0.0
    """Probability of simulated opacities in the lungs, where there are lung masks (training of a lung segmenter)."""
    burned_in_text: Share = 0.0
    """Probability of burned-in text."""
    illumination: Share = 0.0
    """Probability of an uneven illumination."""
    gamma: Range = (1.0, 1.0)
    """Least and greatest exponent of gray levels in 0..1."""
    histogram_matching: Share = 0.0
    """Probability that an image gets the gray levels of another one of its batch, such as of another hospital."""
    reduced_resolution: Share = 0.0
    """Probability that an image is reduced by up to 4 and enlarged again, for the sharpness of another scanner."""
    random_frame: Share = 0.0
    """Probability of bars of one gray along the sides, of up to an eighth of the image each, so that a frame says nothing."""
    trivial_augment: bool = False
    """TrivialAugment (Müller and Hutter 2021) in place of all of these."""


FASTAI = Augmentation(flip=0.5, rotate=10.0, zoom=(1.0, 1.1), perspective=0.2, lighting=0.2, p_affine=0.75, p_lighting=0.75)
STRONG = {"rotate": 15.0, "zoom": (0.85, 1.25), "lighting": 0.35, "padding": "zeros", "random_erasing": 0.05}

AUGMENTATIONS = {
    "fastai_default": FASTAI,
    "fastai_v1": FASTAI.model_copy(update={"perspective_by": "side"}),
    "strong": FASTAI.model_copy(update=STRONG | {"consolidation": 0.2, "burned_in_text": 0.15, "illumination": 0.15}),
    "style": FASTAI.model_copy(
        update={
            "gamma": (0.4, 2.5),
            "histogram_matching": 1.0,
            "reduced_resolution": 0.3,
            "random_frame": 1.0,
            "burned_in_text": 0.3,
        }
    ),
    "trivial": Augmentation(trivial_augment=True),
    "flips_rotations": Augmentation(flip=0.5, rotate=10.0),
    "basic_cnn_first": Augmentation(flip=0.5, rotate=45.0, shift=0.15, zoom_range=(0.5, 1.5), padding="border"),
    "basic_cnn": Augmentation(flip=0.5, rotate=45.0, zoom_range=(0.5, 1.5), padding="border"),
    "three_layer_cnn": Augmentation(flip=0.5, shear=0.2, zoom_range=(0.8, 1.2), padding="border"),
    "gradient_crescent": Augmentation(
        flip=0.5,
        flip_vertical=0.5,
        rotate=50.0,
        shift=0.2,
        shear=0.25,
        zoom_range=(0.9, 1.1),
        channel_shift=20.0,
        padding="zeros",
    ),
}
"""`basic_cnn*`, `three_layer_cnn` and `gradient_crescent` are the Keras generators of those systems. Keras's shear is in degrees,
and it fills with the nearest pixel unless told otherwise."""
