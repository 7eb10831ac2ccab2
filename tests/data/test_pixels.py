import numpy as np
from PIL import Image

from darkcovid.data.pixels import resized


def test_squashing_fills_the_input_and_keeping_the_aspect_leaves_bars():
    wide = Image.new("L", (80, 40), 200)
    assert (resized(wide, (40, 40)) == 200).all()
    boxed = resized(wide, (40, 40), keep_aspect=True)
    assert (boxed[10:30] == 200).all()
    assert (boxed[:10] == 0).all()
    assert (boxed[30:] == 0).all()


def test_a_box_is_what_is_shown():
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:20, 40:] = 255
    image = Image.fromarray(pixels)
    inside = slice(1, -1)
    assert (resized(image, (10, 10), (0.0, 0.5, 0.5, 1.0))[inside, inside] == 255).all()
    assert (resized(image, (10, 10), (0.5, 0.0, 1.0, 0.5))[inside, inside] == 0).all()
    assert (resized(image, (10, 20), (0.0, 0.5, 0.5, 1.0), keep_aspect=True)[inside, inside] == 255).all()
