"""Numbers in sentences."""


def counted(count: int, noun: str) -> str:
    """A number of things: `1 image`, `2 images`.

    Args:
        count: How many.
        noun: One of them, whose plural ends in -s or, after -y, in -ies.

    Returns:
        The words.
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"
