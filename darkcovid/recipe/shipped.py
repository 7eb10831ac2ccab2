"""The recipes that come with the package, by name: `segmented` is `recipes/segmented.yaml`."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "shipped" / "recipes", PACKAGE.parent / "recipes")  # of an installed wheel, and of a checkout


def shipped_recipes() -> dict[str, Path]:
    """Each shipped recipe's file by its name, such as `segmented` or `systems/cnn13`."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        return {}
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}


def find_recipe(path: str | Path) -> Path:
    """A recipe's file: the path itself where it is there, else the shipped recipe of that name.

    Args:
        path: Of a file, or a name, with `.yaml` and a leading `recipes/` or without.

    Returns:
        The file; the path as it was given where neither is there.
    """
    path = Path(path).expanduser()
    return path if path.is_file() else shipped_recipe(path) or path


def shipped_recipe(name: str | Path) -> Path | None:
    """The file of a shipped recipe.

    Args:
        name: With `.yaml` and a leading `recipes/` or without.

    Returns:
        None where none is called so.
    """
    plain = Path(name).as_posix().removesuffix(".yaml").removeprefix("recipes/")
    return shipped_recipes().get(plain)


def summary(path: Path) -> str:
    """The first sentence of a recipe's comments, '' where it has none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("# ") and "$schema" not in line]
    return re.split(r"(?<!\bal)\. ", " ".join(comments))[0].rstrip(".")
