"""A hook of mkdocs: links to what is not a page (folders, scripts, files outside docs/) lead to the repository."""

import posixpath
import re
from pathlib import Path

LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)\)")


def on_page_markdown(markdown, page, config, **_):
    """Replace links that lead to no page."""

    def replaced(match):
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), match[1]))
        is_page = (
            target.startswith("docs/")
            and not target.endswith(".py")
            and not Path(config.docs_dir).parent.joinpath(target).is_dir()
        )
        return match[0] if is_page else f"]({config.repo_url}/blob/main/{target})"

    return LINK.sub(replaced, markdown)
