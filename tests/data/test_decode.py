import numpy as np
import pytest
from PIL import Image

from darkcovid.core.errors import DataError
from darkcovid.data.decode import load_grayscale_array

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return load_grayscale_array(path)


def test_eight_bit_grayscale_png_is_returned_as_it_is(tmp_path):
    pixels = saved(tmp_path, Image.fromarray(RAMP))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, RAMP)


def test_sixteen_bit_png_keeps_its_upper_eight_bits(tmp_path):
    wide = RAMP.astype(np.uint16) * 257
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(wide)), RAMP)


def test_twelve_bits_in_sixteen_use_the_whole_range(tmp_path):
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(RAMP.astype(np.uint16) * 16)), RAMP)


def test_gray_stored_as_color_stays_the_same_gray(tmp_path):
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(RAMP).convert("RGB")), RAMP)
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(RAMP).convert("P")), RAMP)
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(RAMP).convert("RGBA")), RAMP)


def test_color_goes_through_luma(tmp_path):
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert saved(tmp_path, red)[0, 0] == round(0.299 * 255)


def test_a_palette_of_colors_is_looked_up_not_taken_as_gray(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 200, 200])
    assert saved(tmp_path, image)[0, 0] == 200


def test_transparent_pixels_are_black(tmp_path):
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    assert saved(tmp_path, image).max() == 0


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    ramp = Image.fromarray(RAMP).convert("RGB").convert("CMYK")
    pixels = saved(tmp_path, ramp, "image.jpg", quality=100)
    assert np.abs(pixels.astype(int) - RAMP).max() < 6


def test_one_bit_png_is_black_and_white(tmp_path):
    assert set(np.unique(saved(tmp_path, Image.fromarray(RAMP > 100)))) == {0, 255}


def test_exif_orientation_is_respected(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = saved(tmp_path, Image.fromarray(RAMP), "image.jpg", exif=exif, quality=100)
    assert pixels.shape == (64, 48)
    assert pixels[0].mean() < 10 < 245 < pixels[-1].mean()


@pytest.mark.parametrize("keep", [0.5, 0.98])
@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_a_truncated_file_is_refused(tmp_path, name, keep):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DataError, match=r"image\.(png|jpg)"):
        load_grayscale_array(path)


def test_other_formats_and_missing_files_are_refused_by_name(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png", format="BMP")
    with pytest.raises(DataError, match="not a PNG, JPEG or DICOM"):
        load_grayscale_array(tmp_path / "a.png")
    with pytest.raises(DataError, match="no such file"):
        load_grayscale_array(tmp_path / "b.png")


def test_an_image_beyond_the_pixel_cap_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("darkcovid.data.decode.MAX_PIXELS", 100)
    with pytest.raises(DataError, match="more than the 100 allowed"):
        saved(tmp_path, Image.fromarray(RAMP))
