"""Numbers in sentences, and texts that a terminal can show."""


def counted(count: int, noun: str) -> str:
    """A number of things: `1 image`, `2 images`.

    Args:
        count: How many.
        noun: One of them, whose plural ends in -s.

    Returns:
        The words.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """A text from a file or a server without what a terminal would obey.

    Args:
        text: Any.

    Returns:
        The text with `?` in place of control characters but for line breaks.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
