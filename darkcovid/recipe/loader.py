"""A YAML file becomes a `Recipe`: `extends` followed, overrides laid over it, every mistake named by its place."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from darkcovid.core.errors import UsageError, one_line
from darkcovid.recipe.deprecated import deprecated, modernize
from darkcovid.recipe.errors import close_name
from darkcovid.recipe.recipe import Recipe, check_arms_comparable, deep_merge, from_dotted_key, validate
from darkcovid.recipe.sections import PHANTOM, Data
from darkcovid.recipe.shipped import find_recipe, shipped_recipe, shipped_recipes
from darkcovid.recipe.swept_keys import check_sweep

MAX_YAML_NODES = 20_000
MANIFEST_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
_LIST = "`darkcovid recipe list` shows those that ship"


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, apply `extends`, then the overrides.

    A relative `data.manifest` is looked for from the current folder, then beside the recipe and up to two folders above it.

    Args:
        path: The YAML file, or the name of a shipped recipe, such as `segmented`.
        overrides: `key.path=value` each, the value being YAML.

    Returns:
        The validated recipe.

    Raises:
        UsageError: No such file, not YAML, an unknown or duplicate key, a wrong type, or a circular `extends`.
    """
    path = find_recipe(path)
    plain = _read(path, seen=())
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--set {override}: write it as key.path=value, for example --set training.epochs=5")
        try:
            change = from_dotted_key(key.strip(), yaml.load(text, Loader=_Loader))  # noqa: S506 (a SafeLoader)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {override}: the value is not valid YAML ({one_line(error)})") from None
        plain = _merged(plain, modernize(change, lambda words, override=override: deprecated(f"--set {override}: {words}")))
    recipe = validate(plain, where="")
    check_arms_comparable(recipe)
    check_sweep(recipe)
    return recipe.model_copy(update={"data": _with_resolved_paths(recipe.data, path.parent)})


def _expanded_node_count(node: yaml.Node | None, known: dict[int, float]) -> float:
    """How many values a YAML node is once its aliases are written out; infinitely many when it holds itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = float("inf")  # until it is known: whoever meets it meanwhile is inside it
        below = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_expanded_node_count(child, known) for child in below)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error, and, as in YAML 1.2, 3e-3 is a number and `off` is a word."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if _expanded_node_count(node, {}) > MAX_YAML_NODES:
            raise yaml.constructor.ConstructorError(None, None, f"more than {MAX_YAML_NODES} values, aliases written out")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for index, key in enumerate(keys) if key in keys[:index]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(_FLOAT, re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def _read(path: Path, seen: tuple[Path, ...]) -> dict:
    if path.resolve() in seen:
        raise UsageError(f"{path}: `extends` goes round in a circle; remove one of the links")
    try:
        plain = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        if seen:
            raise UsageError(f"{seen[-1]}: extends: no recipe {path}; the path is relative to the recipe that names it") from None
        beside = [file.name for file in sorted(path.parent.glob("*.y*ml"))] if path.parent.is_dir() else []
        files, names = close_name(path.name, beside), close_name(path.stem, shipped_recipes())
        close = (files or names) if path.suffix else (names or files)
        hint = f"; did you mean {close!r}?" if close else ""
        raise UsageError(f"{path}: no such recipe{hint} ({_LIST})") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder; name a recipe file ({_LIST})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a text file ({one_line(error)})") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = one_line(error.problem or error.context or error)
        raise UsageError(f"{path}: not a valid recipe ({line}{problem}); is it indented like the lines around it?") from None
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: not a valid recipe ({one_line(error)})") from None
    if path.suffix.lower() in MANIFEST_SUFFIXES and not isinstance(plain, dict):
        raise UsageError(f"{path}: a manifest, not a recipe; use it with: darkcovid run RECIPE --manifest {path}")
    if not isinstance(plain, dict):
        raise UsageError(f"{path}: a recipe is a mapping of keys, such as `name: segmented`")
    plain = modernize(plain, lambda words: deprecated(f"{path}: {words}"))
    parents = plain.pop("extends", None) or []
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise UsageError(f"{path}: extends: name a recipe file, or a list of them, the later ones laid over the earlier")
    merged = {}
    for parent in parents:
        beside = path.parent / parent
        file = beside if beside.is_file() else shipped_recipe(parent) or beside
        merged = _merged(merged, _read(file, (*seen, path.resolve())))
    return _merged(merged, plain)


def _merged(base: dict, change: dict) -> dict:
    """`base` with `change` applied; an arm of `base` that is null in `change` is dropped."""
    merged, arms = deep_merge(base, change), base.get("arms")
    if isinstance(arms, dict) and isinstance(merged["arms"], dict):
        merged["arms"] = {name: arm for name, arm in merged["arms"].items() if arm is not None or name not in arms}
    return merged


def _with_resolved_paths(data: Data, folder: Path) -> Data:
    external = tuple(
        source.model_copy(update={"manifest": _resolved_path(source.manifest, folder)}) for source in data.external_sets
    )
    return data.model_copy(update={"manifest": _resolved_path(data.manifest, folder), "external": external})


def _resolved_path(manifest: str, folder: Path) -> str:
    """A relative manifest as an absolute path where it is there, else as it is."""
    if manifest == PHANTOM or Path(manifest).expanduser().is_absolute():
        return manifest if manifest == PHANTOM else str(Path(manifest).expanduser())
    places = [Path.cwd(), folder, folder.parent, folder.parent.parent]
    existing = next((place / manifest for place in places if (place / manifest).is_file()), None)
    return manifest if existing is None else str(existing.resolve())
