"""Numbers in sentences."""


def counted(count: int, noun: str) -> str:
    """A number of things: `1 image`, `2 images`.

    Args:
        count: How many.
        noun: One of them, whose plural ends in -s.

    Returns:
        The words.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
