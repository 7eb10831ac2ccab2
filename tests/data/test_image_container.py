"""Metadata of every kind, mutated thousands of times around sound pixels: the pixels are read as if nothing were wrong."""

import io
import random
import zlib
from functools import cache
from struct import pack

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from darkcovid.core.errors import DataError
from darkcovid.data.decode import load_grayscale_bytes

FILES = 3000
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 11), np.uint8)


def entry(tag, kind, count, value):
    return pack("<HHI", tag, kind, count) + value


def tiff(orientation=6, *more):
    entries = [entry(0x112, 3, 1, pack("<HH", orientation, 0)), *more]
    return b"II*\0\x08\0\0\0" + pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4 + pack("<ii", -1, 0)


RATIONAL = tiff(6, entry(0x11A, 10, 1, pack("<I", 38)))  # -1/0, which Pillow cannot write back
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1"/></x:xmpmeta>'


@cache
def jpeg():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", quality=100)
    return file.getvalue()


@cache
def plain(kind):
    file = io.BytesIO(jpeg())
    return np.asarray(Image.open(file)) if kind == "JPEG" else PIXELS


def segment(marker, payload):
    return b"\xff" + bytes([marker]) + pack(">H", len(payload) + 2) + payload


def with_segments(*segments):
    """The JPEG with these after its JFIF segment."""
    content = jpeg()
    after = 4 + int.from_bytes(content[4:6], "big")
    return content[:after] + b"".join(segments) + content[after:]


def chunk(kind, payload):
    return pack(">I", len(payload)) + kind + payload + pack(">I", zlib.crc32(kind + payload))


@cache
def png():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


def with_chunks(*chunks):
    """The PNG with these after its header chunk."""
    return png()[:33] + b"".join(chunks) + png()[33:]


def mutated(payload, dice):
    payload = bytearray(payload)
    for _ in range(dice.randint(1, 6)):
        choice = dice.random()
        if choice < 0.7 and payload:
            payload[dice.randrange(len(payload))] = dice.choice([0, 1, 2, 5, 10, 127, 128, 255, dice.randrange(256)])
        elif choice < 0.85:
            payload = payload[: dice.randint(0, len(payload))]
        else:
            payload += dice.randbytes(dice.randint(1, 20))
    return bytes(payload)


JPEG_KINDS = [
    (0xE1, b"Exif\0\0", RATIONAL),
    (0xE1, b"Exif\0\0", tiff(3, entry(0x8769, 4, 1, pack("<I", 8)), entry(0x9286, 7, 4, b"abcd"))),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0", XMP),
    (0xE2, b"ICC_PROFILE\0", b"\x01\x01" + bytes(60)),
    (0xE2, b"MPF\0", tiff(1, entry(0xB001, 4, 1, pack("<I", 2)), entry(0xB002, 7, 32, pack("<I", 50)))),
    (0xED, b"Photoshop 3.0\0", b"8BIM\x04\x04\0\0\0\0\0\x10" + bytes(16)),
    (0xE0, b"JFIF\0", b"\1\1\0\0\1\0\1\0\0"),
    (0xFE, b"", b"a comment"),
]
PNG_KINDS = [
    (b"eXIf", RATIONAL),
    (b"eXIf", tiff(8, entry(0x8769, 4, 1, pack("<I", 8)))),
    (b"iCCP", b"name\0\0" + zlib.compress(bytes(100))),
    (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
    (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 8\n" + RATIONAL.hex().encode())),
    (b"tEXt", b"Raw profile type exif\0\nexif\n 8\n" + RATIONAL.hex().encode()),
    (b"pHYs", pack(">IIB", 1, 1, 1)),
    (b"gAMA", pack(">I", 45455)),
    (b"cHRM", bytes(32)),
    (b"sRGB", b"\0"),
    (b"tIME", bytes(7)),
]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_sound_pixels_are_read_whatever_the_metadata_say(kind):
    dice, turned = random.Random(7), [np.asarray(picture) for picture in views(plain(kind))]
    for number in range(FILES):
        if kind == "JPEG":
            marker, name, payload = JPEG_KINDS[number % len(JPEG_KINDS)]
            content = with_segments(segment(marker, name + mutated(payload, dice)))
        else:
            name, payload = PNG_KINDS[number % len(PNG_KINDS)]
            made = chunk(name, mutated(payload, dice))
            content = with_chunks(made[:-4] + dice.randbytes(4) if dice.random() < 0.1 else made)
        pixels = np.asarray(load_grayscale_bytes(content, f"file {number}"))
        assert any(np.array_equal(pixels, picture) for picture in turned), content


def views(picture):
    straight = [picture, picture[:, ::-1], picture[::-1, ::-1], picture[::-1]]
    return [*straight, *(turned.T for turned in straight)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_taken_alone(orientation):
    # fault 7: a rational that Pillow cannot write back stands beside it
    upright = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 7, 7: 6, 8: 5}[orientation]
    exif = tiff(orientation, entry(0x11A, 10, 1, pack("<I", 38)))
    for content, kind in ((with_segments(segment(0xE1, b"Exif\0\0" + exif)), "JPEG"), (with_chunks(chunk(b"eXIf", exif)), "PNG")):
        np.testing.assert_array_equal(np.asarray(load_grayscale_bytes(content, "x")), views(plain(kind))[upright])


def test_the_orientation_counts_beside_other_metadata_that_are_broken():
    content = with_chunks(chunk(b"eXIf", tiff(3)), chunk(b"iCCP", b"n\0\0" + b"x")[:-4] + b"oops")
    np.testing.assert_array_equal(np.asarray(load_grayscale_bytes(content, "x")), PIXELS[::-1, ::-1])


def test_a_text_that_unpacks_to_too_much_does_no_harm():
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 27)))
    np.testing.assert_array_equal(np.asarray(load_grayscale_bytes(with_chunks(bomb), "x")), PIXELS)


def test_whatever_a_decoder_raises_the_file_is_named(monkeypatch):
    for error in (TypeError("argument out of range"), AttributeError(), RecursionError("deep"), MemoryError()):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(DataError, match=r"^bad\.png: cannot be decoded"):
            load_grayscale_bytes(png(), "bad.png")


def stored(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return np.asarray(load_grayscale_bytes(file.getvalue(), "x.png"))


RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (4, 1))


def test_transparent_pixels_show_black_in_every_mode():
    right = np.where(RAMP == 200, 0, RAMP)
    np.testing.assert_array_equal(stored(Image.fromarray(RAMP), transparency=200), right)
    np.testing.assert_array_equal(stored(Image.fromarray(RAMP).convert("RGB"), transparency=(200, 200, 200)), right)
    palette = Image.fromarray(RAMP).convert("P")
    palette.putpalette([value for value in range(256) for _ in range(3)])
    np.testing.assert_array_equal(stored(palette, transparency=200), right)
    alphas = bytes(0 if value == 200 else 255 for value in range(256))
    np.testing.assert_array_equal(stored(palette, transparency=alphas), right)
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(stored(wide, transparency=200 * 257), right)
    assert stored(Image.fromarray(RAMP > 100), transparency=255).max() == 0
    gray_alpha = Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(np.where(RAMP == 200, 0, 255).astype(np.uint8))])
    np.testing.assert_array_equal(stored(gray_alpha), right)


def test_text_chunks_that_are_sound_change_nothing():
    info = PngInfo()
    info.add_text("Comment", "left")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    np.testing.assert_array_equal(stored(Image.fromarray(RAMP), pnginfo=info), RAMP)
