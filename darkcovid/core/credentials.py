"""What of an address is a secret, and is not written, said or sent."""

import re

MASK = "***"
_USERINFO = re.compile(r"""(?<=://)(?:[^\s/@"<>]*:[^\s"<>]*|[^\s/?#"<>]*)@""")  # a password may have an @ or a slash of its own
_QUERY = re.compile(r"([?&][\w-]*(?:password|passwd|pwd|token|secret|api_?key)[\w-]*=)[^&\s'\"#]+", re.IGNORECASE)


def without_credentials(text: object) -> str:
    """A text in which addresses have no user, password or token.

    Args:
        text: Any; `http://ann:secret@host:5000/?token=1` for one.

    Returns:
        The text, with `***` in their place: `http://***@host:5000/?token=***`.
    """
    return _QUERY.sub(rf"\1{MASK}", _USERINFO.sub(f"{MASK}@", str(text)))
