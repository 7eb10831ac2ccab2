"""The color of an arm, by its place in the recipe, and of a class, by its place among the classes: the same in every figure."""

import colorsys

PALETTE = ("#4C8BD0", "#E0607E", "#3A9A50", "#B8860B", "#2AA6C9", "#B04A90", "#888888")  # legible on white and on black


def color_of(index: int, count: int = 0) -> str:
    """The color of one of several things.

    Args:
        index: Its place, from 0.
        count: How many there are; where the palette has fewer colors, hues are spread evenly instead.

    Returns:
        As `#rrggbb`.
    """
    if count <= len(PALETTE):
        return PALETTE[index % len(PALETTE)]
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(index / count, 0.5, 0.6))
    return f"#{red:02X}{green:02X}{blue:02X}"


def distinct_colors(count: int) -> list[str]:
    """`color_of` each of so many things."""
    return [color_of(index, count) for index in range(count)]
