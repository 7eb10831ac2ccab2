"""How training images are altered: ranges and probabilities, and the named sets of them that published systems used."""

from typing import Annotated, Literal

from pydantic import Field

from darkcovid.recipe.base import StrictModel

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Annotated[float, Field(gt=0.05, le=20)], Annotated[float, Field(gt=0.05, le=20)]]


class Augmentation(StrictModel):
    """One set. flip, flip_vertical: probabilities. rotate: degrees either way; shift: greatest share of the sides; shear:
    greatest angle in degrees; zoom: least and greatest magnification; span: least and greatest share of the picture that
    is seen, each axis by itself; warp: greatest perspective tilt; these happen with `p_affine`. warp_by: `axis`, a tilt about
    each axis with a probability of its own (fastai v2), or `side`, each side of the frame widened or narrowed by a draw of its
    own, all four or none, before the image is turned and zoomed (fastai v1, `symmetric_warp`). light: greatest share of
    brightness and contrast, with `p_light`; channel_shift: gray levels of 255 added, at most. padding: what is seen beyond
    the picture. erase: probability that up to three patches become noise; white_lungs (where there are masks), shade,
    text: probabilities of these artifacts. trivial: one random operation an image instead (Müller and Hutter 2021)."""

    flip: Share = 0.0
    flip_vertical: Share = 0.0
    rotate: float = Field(0.0, ge=0, le=180)
    shift: Share = 0.0
    shear: float = Field(0.0, ge=0, lt=90)
    zoom: Range = (1.0, 1.0)
    span: Range = (1.0, 1.0)
    warp: float = Field(0.0, ge=0, lt=0.5)
    warp_by: Literal["axis", "side"] = "axis"
    light: float = Field(0.0, ge=0, lt=1)
    channel_shift: float = Field(0.0, ge=0, le=255)
    p_affine: Share = 1.0
    p_light: Share = 1.0
    padding: Literal["reflection", "border", "zeros"] = "reflection"
    erase: Share = 0.0
    white_lungs: Share = 0.0
    text: Share = 0.0
    shade: Share = 0.0
    trivial: bool = False


FASTAI = Augmentation(flip=0.5, rotate=10.0, zoom=(1.0, 1.1), warp=0.2, light=0.2, p_affine=0.75, p_light=0.75)
STRONG = {"rotate": 15.0, "zoom": (0.85, 1.25), "light": 0.35, "padding": "zeros", "erase": 0.05}

AUGMENTATIONS = {
    "fastai_default": FASTAI,
    "fastai_v1": FASTAI.model_copy(update={"warp_by": "side"}),
    "strong": FASTAI.model_copy(update=STRONG | {"white_lungs": 0.2, "text": 0.15, "shade": 0.15}),
    "trivial": Augmentation(trivial=True),
    "flips_rotations": Augmentation(flip=0.5, rotate=10.0),
    "basic_cnn_first": Augmentation(flip=0.5, rotate=45.0, shift=0.15, span=(0.5, 1.5), padding="border"),
    "basic_cnn": Augmentation(flip=0.5, rotate=45.0, span=(0.5, 1.5), padding="border"),
    "three_layer_cnn": Augmentation(flip=0.5, shear=0.2, span=(0.8, 1.2), padding="border"),
    "gradient_crescent": Augmentation(
        flip=0.5,
        flip_vertical=0.5,
        rotate=50.0,
        shift=0.2,
        shear=0.25,
        span=(0.9, 1.1),
        channel_shift=20.0,
        padding="zeros",
    ),
}
"""`basic_cnn*`, `three_layer_cnn` and `gradient_crescent` are the Keras generators of those systems. Keras's zoom is our
span, its shear is in degrees, and it fills with the nearest pixel unless told otherwise."""
