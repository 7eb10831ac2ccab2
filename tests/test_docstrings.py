"""Every public function says what it does; with two or more parameters, in Google sections that name each of them."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "darkcovid"
MODULES = sorted(PACKAGE.rglob("*.py"))
SECTIONS = ("Args", "Returns", "Yields", "Raises", "Attributes", "Example", "References")
# Called by fastai, torch or typer, which say what is handed to them.
OVERRIDES = re.compile(r"forward|before_\w+|after_\w+|encodes|decodes|get_command|list_commands")


def is_route(function: ast.FunctionDef) -> bool:
    """Whether FastAPI calls it; its OpenAPI description is the arguments' documentation."""
    return any(re.search(r"\.(get|post)\b", ast.unparse(decorator)) for decorator in function.decorator_list)


def public_functions(tree: ast.Module) -> list[ast.FunctionDef]:
    nodes = [node for node in tree.body if not getattr(node, "name", "_").startswith("_")]
    methods = [node for owner in nodes if isinstance(owner, ast.ClassDef) for node in owner.body]
    functions = [node for node in nodes + methods if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [
        node for node in functions if not node.name.startswith("_") and not OVERRIDES.fullmatch(node.name) and not is_route(node)
    ]


def parameters(function: ast.FunctionDef) -> list[str]:
    args = function.args
    variadic = [args.vararg] if args.vararg else []
    named = [arg.arg for arg in args.posonlyargs + args.args + variadic + args.kwonlyargs]
    named = named[1:] if named[:1] in (["self"], ["cls"]) else named
    return named + ([args.kwarg.arg] if args.kwarg else [])


def sections(docstring: str) -> dict[str, str]:
    """Each Google section's text by its heading."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):$", docstring, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(text: str) -> list[str]:
    return re.findall(r"^    \*{0,2}(\w+):", text, flags=re.M)


def faults(function: ast.FunctionDef, command: bool) -> list[str]:
    """command: Whether it may be one of typer's, whose options' help is the arguments' documentation."""
    docstring = ast.get_docstring(function)
    if docstring is None:
        return ["no docstring"]
    given, names = sections(docstring), parameters(function)
    if command:
        return []
    said = []
    if "Args" in given and documented(given["Args"]) != names:
        said.append(f"Args name {documented(given['Args'])}, the signature {names}")
    if "Args" not in given and len(names) > 1:
        said.append("no Args")
    returns = function.returns is not None and ast.unparse(function.returns) not in ("None", "NoReturn")
    if len(names) > 1 and returns and not given.keys() & {"Returns", "Yields"}:
        said.append("no Returns")
    raised = {ast.unparse(node.exc).split("(")[0] for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc}
    missing = [name for name in raised if name[0].isupper() and name not in given.get("Raises", docstring)]
    if missing:
        said.append(f"does not say that it raises {missing}")
    if re.search(r"^Parameters\n-+$|^:param ", docstring, flags=re.M):
        said.append("another style than Google's")
    return said


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_public_functions_are_documented(path):
    functions = public_functions(ast.parse(path.read_text()))
    command = path.parent.name == "cli" and path.stem not in ("helpers", "options", "spellings")
    assert not {f"{node.name}, line {node.lineno}": said for node in functions if (said := faults(node, command))}
