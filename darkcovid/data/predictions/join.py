"""Which row of a table is of which image of a manifest? By path, where one path ends as the other does, and never by a guess.

A wrong join scores one image by another's label, so a rule holds for all rows of a file or for none: names are paths as the
manifest has them, or all lack the same folder, or all have one more. What else could be meant is asked for.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from darkcovid.core.errors import UsageError
from darkcovid.core.words import counted
from darkcovid.data.table_cells import normalize_path

MatchBy = Literal["path", "name", "stem"]
EXTENSIONS = frozenset(
    ["png", "jpg", "jpeg", "jpe", "bmp", "gif", "tif", "tiff", "webp", "dcm", "dicom", "dic", "npy"]
)  # what a name may lack
SHOWN = 3


@dataclass(frozen=True, slots=True)
class JoinRule:
    """How a table names images.

    Attributes:
        by: path: as the manifest's paths end; name: by the file's name alone; stem: by that without its extension.
        strip_prefix: What is taken off the beginning of each name first.
        ignore_case: Whether capitals are passed over.
    """

    by: MatchBy = "path"
    strip_prefix: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """rows: (n,) int, the image of each name, -1 where the manifest lists none; note: how they were matched, '' as they are."""

    rows: np.ndarray
    note: str


@dataclass(frozen=True, slots=True)
class _Match:
    """An image that a name may mean: its row, whether the name is longer or shorter than its path, and by which folders."""

    row: int
    form: Literal["same", "longer", "shorter"]
    folders: str
    extension: bool


def join_images(
    names: Sequence[str], paths: Sequence[str], where: str, rule: JoinRule = JoinRule(), may_miss_all: bool = False
) -> Join:
    """The image of each name.

    Args:
        names: (n) of images, as some program wrote them: absolute or relative, with backslashes, without extension.
        paths: (m) of the manifest's images.
        where: The file and column of the names, for messages.
        rule: How they are to be compared.
        may_miss_all: Whether it is well if no name is in the manifest.

    Returns:
        The row of each.

    Raises:
        UsageError: No image is found, or it is not plain which one is meant; the message says what to do.
    """
    names = _without_prefix([_normalized(name) for name in names], rule, where)
    shown, paths = list(paths), [_folded(normalize_path(path), rule) for path in paths]
    names = [_folded(name, rule) for name in names]
    if rule.by != "path":
        join = Join(_by_last_part(names, paths, shown, where, rule.by), f"images are told apart by their file's {rule.by} alone")
    else:
        join = _by_path(names, paths, shown, where)
    if names and (join.rows < 0).all() and not may_miss_all:
        raise UsageError(f"{where}: none of the {len(names)} images is in the manifest{unmatched_hint(names, paths, shown)}")
    return join


def unmatched_hint(names: Sequence[str], paths: Sequence[str], shown: Sequence[str]) -> str:
    """What to do about names that the manifest does not have.

    Args:
        names: Those.
        paths: The manifest's.
        shown: The manifest's as they are written.

    Returns:
        The end of a sentence.
    """
    first = f": the first is {names[0]!r}" + (f", the manifest's first is {shown[0]!r}" if shown else "")
    for by in ("name", "stem"):
        known = {_last(path, by) for path in paths}
        hits = sum(_last(name, by) in known for name in names)
        if hits:
            said = "file name" if by == "name" else "file name without extension"
            return f"{first}; {hits} have the {said} of one: if that tells images apart, give --match-by {by}"
    capitals = {path.casefold().rpartition("/")[2] for path in paths}
    if any(name.casefold().rpartition("/")[2] in capitals for name in names):
        return f"{first}; they differ in capitals: --ignore-case passes over them"
    return f"{first}; --image-column names another column, --row-column one of row numbers"


def _by_path(names: Sequence[str], paths: Sequence[str], shown: Sequence[str], where: str) -> Join:
    by_last, by_stem = defaultdict(list), defaultdict(list)
    for row, path in enumerate(paths):
        by_last[_last(path, "name")].append(row)
        by_stem[_last(path, "stem")].append(row)
    parents = [path.split("/")[:-1] for path in paths]
    matches = [_matches(name, by_last, by_stem, parents) for name in names]
    found = [match for some in matches for match in some]
    same = all(any(match.form == "same" and match.extension for match in some) for some in matches if some)
    rows = np.full(len(names), -1)
    for number, (name, some) in enumerate(zip(names, matches, strict=True)):
        exact = [match for match in some if match.form == "same" and match.extension] if same else some
        if len(exact) > 1:
            raise UsageError(
                f"{where}: {name!r} may be {_either(shown[match.row] for match in exact)}; {_tell_apart(exact, shown)}"
            )
        if exact:
            rows[number] = exact[0].row
    if same:
        return Join(rows, "")
    return Join(rows, _one_form(found, where))


def _matches(name: str, by_last: dict, by_stem: dict, parents: Sequence[list[str]]) -> list[_Match]:
    """The images of whose path the name is an end, or whose path is an end of the name."""
    *folders, last = name.split("/")
    whole = by_last.get(last, [])
    bare = [] if _has_extension(last) else by_stem.get(last, [])
    matches = []
    for row in dict.fromkeys([*whole, *bare]):
        theirs = [*parents[row]]
        shorter = min(len(folders), len(theirs))
        if folders[len(folders) - shorter :] == theirs[len(theirs) - shorter :]:
            form = "same" if len(folders) == len(theirs) else "longer" if len(folders) > len(theirs) else "shorter"
            extra = folders if form == "longer" else theirs
            matches.append(_Match(row, form, "/".join(extra[: len(extra) - shorter]), row in whole))
    return matches


def _one_form(found: Sequence[_Match], where: str) -> str:
    """How names differ from paths; refused where they do in several ways."""
    forms = {match.form for match in found}
    longer = sorted({match.folders for match in found if match.form == "longer"})
    if len(forms) > 1 or len(longer) > 1:
        how = f"begin with several folders ({', '.join(longer[:SHOWN])})" if len(longer) > 1 else "are written in several ways"
        raise UsageError(
            f"{where}: the names {how}, so that it is not plain which images are meant; write paths as the manifest has them, "
            "take a folder off with --strip-prefix, or give --match-by name if file names alone tell images apart"
        )
    lacking = "" if all(match.extension for match in found) else ", without extensions"
    if "longer" in forms:
        return f"images are named as in the manifest{lacking}, after {longer[0] or '/'}"
    if "shorter" in forms:
        return f"images are named by the end of the manifest's path{lacking}, which no two share"
    return f"images are named as in the manifest{lacking}"


def _by_last_part(names: Sequence[str], paths: Sequence[str], shown: Sequence[str], where: str, by: MatchBy) -> np.ndarray:
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        rows_of[_last(path, by)].append(row)
    rows, first = np.full(len(names), -1), dict[str, str]()
    for number, name in enumerate(names):
        last = _last(name, by)
        some = rows_of.get(last, [])
        if len(some) > 1:
            raise UsageError(f"{where}: {name!r} may be {_either([shown[row] for row in some])}, which have the same {by}")
        if some and first.setdefault(last, name) != name:
            raise UsageError(f"{where}: {first[last]!r} and {name!r} have the same {by}, which is that of {shown[some[0]]} alone")
        rows[number] = some[0] if some else -1
    return rows


def _tell_apart(matches: Sequence[_Match], shown: Sequence[str]) -> str:
    if len({shown[match.row] for match in matches}) == 1:
        return "which several datasets of the manifest have: name one with --dataset"
    return "write paths as the manifest has them"


def _either(paths: Iterable[str]) -> str:
    several = list(dict.fromkeys(paths))
    return " or ".join(several[:SHOWN]) + (f" or {counted(len(several) - SHOWN, 'other')}" if len(several) > SHOWN else "")


def _normalized(name: str) -> str:
    return normalize_path(name.strip().removeprefix("file://"))


def _without_prefix(names: list[str], rule: JoinRule, where: str) -> list[str]:
    prefix = normalize_path(rule.strip_prefix)
    if not prefix:
        return names
    prefix += "/" if rule.strip_prefix.rstrip().endswith(("/", "\\")) else ""
    if not any(name.startswith(prefix) for name in names):
        raise UsageError(f"--strip-prefix {rule.strip_prefix}: no image of {where} begins so; the first is {names[0]!r}")
    return [name.removeprefix(prefix).lstrip("/") if name.startswith(prefix) else name for name in names]


def _folded(name: str, rule: JoinRule) -> str:
    return name.casefold() if rule.ignore_case else name


def _has_extension(last: str) -> bool:
    stem, dot, extension = last.rpartition(".")
    return bool(stem and dot) and extension.lower() in EXTENSIONS


def _last(path: str, by: str) -> str:
    """The file's name, without its extension where `by` is stem."""
    last = path.rpartition("/")[2]
    return last.rpartition(".")[0] if by == "stem" and _has_extension(last) else last
