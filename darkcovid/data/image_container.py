"""What of a PNG or JPEG file carries the pixels? The rest, metadata, may be damaged without doing them harm.

PNG: the critical chunks and transparency (PNG 3, section 5.6). JPEG: everything but the application and comment segments, of
which JFIF and Adobe say what the components mean (ITU-T T.81, T.871, T.872).
"""

from collections.abc import Iterator

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
EXIF = b"Exif\0\0"


def without_metadata(content: bytes) -> Iterator[bytes]:
    """The same file with ever fewer metadata, EXIF the last but one; nothing for other formats. What does not follow the format
    is kept as it is, so a damaged image stays damaged."""
    if content.startswith(PNG):
        yield from (_png(content, kept) for kept in ((b"eXIf",), ()))
    elif content.startswith(JPEG):
        yield from (_jpeg(content, *kept) for kept in ((True, True), (True, False), (False, False)))


def _png(content: bytes, kept: tuple[bytes, ...]) -> bytes:
    parts, here = [PNG], len(PNG)
    while here + 12 <= len(content):
        length, kind = int.from_bytes(content[here : here + 4], "big"), content[here + 4 : here + 8]
        after = here + 12 + length
        critical = not kind[0] & 0x20
        if critical or kind in (b"tRNS", *kept):
            parts.append(content[here:after])
        here = after
    return b"".join([*parts, content[here:]])


def _jpeg(content: bytes, keep_jfif: bool, keep_exif: bool) -> bytes:
    parts, here = [JPEG], len(JPEG)
    while here + 4 <= len(content) and content[here] == 0xFF:
        marker, after = content[here + 1], here + 2 + int.from_bytes(content[here + 2 : here + 4], "big")
        if marker == 0xDA or marker < 0xC0:  # the scan begins, or what stands here is no segment
            break
        is_exif = content[here + 4 : here + 10] == EXIF
        kept = keep_jfif if marker == 0xE0 else keep_exif if is_exif else marker == 0xEE
        if kept or not (marker == 0xFE or 0xE0 <= marker <= 0xEF):
            parts.append(content[here:after])
        here = after
    return b"".join([*parts, content[here:]])
