"""Hand-made copies of an image, of every alteration that the near-copy search says it finds."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

Alter = Callable[[Image.Image], Image.Image]


def cropped(left: float, top: float, right: float, bottom: float) -> Alter:
    """Cut off these shares of the width and height."""

    def alter(image: Image.Image) -> Image.Image:
        width, height = image.size
        return image.crop((round(left * width), round(top * height), round(width * (1 - right)), round(height * (1 - bottom))))

    return alter


def padded(sides: float, ends: float, gray: int = 0) -> Alter:
    """Borders of these shares of the width (left and right) and of the height (top and bottom)."""

    def alter(image: Image.Image) -> Image.Image:
        width, height = image.size
        return ImageOps.expand(image, (round(sides * width), round(ends * height)), gray)

    return alter


def on_canvas(wide: float, tall: float, gray: int = 0) -> Alter:
    """In the middle of a square of one gray, of whose sides it takes these shares."""

    def alter(image: Image.Image) -> Image.Image:
        side = max(image.size)
        canvas = Image.new("L", (side, side), gray)
        small = image.resize((round(wide * side), round(tall * side)), Image.Resampling.BILINEAR)
        canvas.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
        return canvas

    return alter


def blurred(share: float) -> Alter:
    """By a Gaussian whose sigma is a share of the longer side."""
    return lambda image: image.filter(ImageFilter.GaussianBlur(share * max(image.size)))


def shrunk(pixels: int) -> Alter:
    """To so many pixels a side and back."""
    return lambda image: image.resize((pixels, pixels), Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)


def rotated(degrees: float) -> Alter:
    return lambda image: image.rotate(degrees, Image.Resampling.BILINEAR)


def resized(wide: float, tall: float) -> Alter:
    return lambda image: image.resize((round(image.width * wide), round(image.height * tall)), Image.Resampling.BICUBIC)


def recompressed(quality: int) -> Alter:
    def alter(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("L")

    return alter


def toned(gain: float = 1.0, offset: float = 0.0, gamma: float = 1.0) -> Alter:
    return lambda image: image.point(
        [round(255 * min(1, max(0, gain * (level / 255) ** gamma + offset))) for level in range(256)]
    )


def with_text(text: str, right: bool) -> Alter:
    def alter(image: Image.Image) -> Image.Image:
        copy = image.copy()
        font = ImageFont.load_default(size=max(8, image.height // 16))
        wide = round(font.getlength(text))
        left = image.width - wide - image.width // 50 if right else image.width // 50
        ImageDraw.Draw(copy).text((left, image.height // 50), text, fill=255, font=font)
        return copy

    return alter


def chained(*steps: Alter) -> Alter:
    def alter(image: Image.Image) -> Image.Image:
        for step in steps:
            image = step(image)
        return image

    return alter


COPIES: dict[str, dict[str, Alter]] = {
    "resized": {"half": resized(0.5, 0.5), "wider": resized(1.06, 1.0), "taller": resized(0.7, 0.74)},
    "recompressed": {"JPEG 30": recompressed(30), "JPEG 10": recompressed(10)},
    "changed in brightness, contrast or gamma": {
        "brighter": toned(offset=0.15),
        "darker": toned(gain=0.6),
        "more contrast": toned(gain=1.4, offset=-0.2),
        "gamma 0.6": toned(gamma=0.6),
        "gamma 1.6": toned(gamma=1.6),
    },
    "mirrored": {"mirrored": ImageOps.mirror},
    "inverted": {"inverted": ImageOps.invert},
    "cropped by up to 5 % per side": {
        "2 %": cropped(0.02, 0.02, 0.02, 0.02),
        "5 %": cropped(0.05, 0.05, 0.05, 0.05),
        "5 % of two sides": cropped(0.05, 0.05, 0, 0),
        "5 % of three sides": cropped(0, 0.05, 0.05, 0.05),
        "5 % and 1 %": cropped(0.05, 0.01, 0.01, 0.05),
    },
    "padded by a uniform border": {
        "left and right": padded(0.12, 0),
        "top and bottom": padded(0, 0.12),
        "all around": padded(0.08, 0.08),
        "white, all around": padded(0.05, 0.05, 255),
    },
    "rotated by up to 5 degrees": {f"{degrees:+d}": rotated(degrees) for degrees in (-5, -2, 2, 5)},
    "with burned-in text in a corner": {"left": with_text("PORTABLE AP", False), "right": with_text("R  12:45  SUPINE", True)},
}
TOGETHER: dict[str, Alter] = {
    "mirrored, cropped 2 %": chained(ImageOps.mirror, cropped(0.02, 0.02, 0.02, 0.02)),
    "inverted, half": chained(ImageOps.invert, resized(0.5, 0.5)),
    "rotated 3, cropped 4 %": chained(rotated(3), cropped(0.04, 0.04, 0.04, 0.04)),
    "with text, padded, JPEG 20": chained(with_text("AP", False), padded(0.1, 0), recompressed(20)),
    "rotated -5, mirrored, darker": chained(rotated(-5), ImageOps.mirror, toned(gain=0.7)),
}
# what images of different patients may have in common
STRANGERS: dict[str, Alter] = {
    "narrow black margins": on_canvas(0.7, 0.7),
    "wide black margins": on_canvas(0.55, 0.55),
    "wide white margins": on_canvas(0.6, 0.6, 255),
    "very wide gray margins": on_canvas(0.4, 0.4, 128),
    "wide margins left and right": on_canvas(0.45, 1.0),
    "wide margins with text": chained(on_canvas(0.55, 0.55), with_text("PORTABLE AP", False)),
    "slightly blurred": blurred(0.01),
    "blurred": blurred(0.02),
    "heavily blurred": blurred(0.05),
    "shrunk to 32 pixels": shrunk(32),
    "shrunk to 16 pixels": shrunk(16),
}


def altered_pixels(image: Image.Image, size: int = 128) -> dict[str, np.ndarray]:
    """Each altered copy of a gray image, squashed as the search reads it: (size, size) uint8."""
    every = {f"{name}: {how}": alter for name, ways in COPIES.items() for how, alter in ways.items()} | TOGETHER
    return {name: np.asarray(alter(image).resize((size, size), Image.Resampling.BILINEAR)) for name, alter in every.items()}
