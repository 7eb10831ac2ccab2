"""What the documentation names is there: files, headings, commands, options and recipes."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import click
import pytest
import typer

from darkcovid.cli import app
from darkcovid.cli.deprecated import current_spelling
from darkcovid.recipe import load_recipe

ROOT = Path(__file__).parents[1]
MADE = ROOT / "docs" / "cli.md"  # by `make docs`
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted({*DOCS.glob("*.md")} - {MADE}), *sorted((DOCS / "results").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def commands_of(page):
    """Each `darkcovid ...` command line of the page, without its comment and what the shell puts in."""
    for _, block in BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            plain = re.sub(r"\$\(which (\w+)\)", r"\1", line.partition(" #")[0])
            words = re.sub(r"\$\([^)]*\)|[\"']", "", plain).split()
            programs = [index for index, word in enumerate(words) if word.split("/")[-1] == "darkcovid"]
            if programs:
                yield words[programs[-1] + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_line_is_one_that_the_program_has(page):
    for words in commands_of(page):
        assert current_spelling(words) == words or "phantom" in words, f"an old spelling: {' '.join(words)}"
        command = typer.main.get_command(app)
        while isinstance(command, click.Group) or hasattr(command, "commands"):
            while words and words[0].startswith("-"):
                words = words[1:]
            if not words:
                break
            assert words[0] in command.commands, " ".join(words)
            command, words = command.commands[words[0]], words[1:]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known | {"--help"}, f"{command.name}: {word}"


SHOWN = [
    pytest.param(block, id=name_of(page))
    for page in PAGES
    for kind, block in BLOCK.findall(page.read_text())
    if kind == "yaml" and block.startswith("name:")
]


@pytest.mark.parametrize("block", SHOWN)
def test_every_recipe_that_is_shown_is_valid(block, tmp_path):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "shown.yaml").write_text(block)
    assert load_recipe(tmp_path / "shown.yaml").arm_recipes()


PYTHON = [
    pytest.param(block, id=name_of(page))
    for page in PAGES
    for kind, block in BLOCK.findall(page.read_text().replace("\n    ", "\n"))
    if kind == "python" and "requests." not in block
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the patient of")  # of folders named after classes
@pytest.mark.parametrize("block", PYTHON)
def test_every_python_block_runs(block, cohort, tmp_path, monkeypatch):
    """In a folder that has what the pages name: my_xrays, of folders named after classes."""
    monkeypatch.chdir(tmp_path)
    for number, (file, label) in enumerate(zip(cohort.files, cohort.labels, strict=True)):
        place = tmp_path / "my_xrays" / cohort.classes[label] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    names = {}
    exec(compile(block, "block", "exec"), names)
    assert names["learn"].recorder.values


@pytest.mark.slow
def test_the_tutorials_commands_run(darkcovid, tmp_path):
    small = ["--set", "data.phantom.patients=24", "--set", "data.phantom.image_size=64", "--set", "data.image_size=64"]
    (tmp_path / "small.yaml").write_text("extends: demo\nname: demo\n")
    ran = []
    for words in commands_of(ROOT / "docs" / "tutorial.md"):
        if not words or words[0] in ("doctor", "init"):
            continue
        redirected = words.index(">") if ">" in words else None
        if words[0] == "compare":
            words = ["compare", *sorted(map(str, (tmp_path / "runs").glob("demo-*"))), *words[2:]]
        done = darkcovid(*(words if redirected is None else words[:redirected]), *(small if words[0] == "run" else []))
        if redirected is not None:
            (tmp_path / words[redirected + 1]).write_text(done.stdout)
        ran.append(words[0])
    assert ran == ["run", "run", "recipe", "run", "compare"]


def test_the_site_names_every_page_once_and_links_hold():
    """As `make docs` does with mkdocs in strict mode, but for the pages that it makes of notebooks and commands."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=Loader)["nav"]  # noqa: S506 (a SafeLoader)
    named = re.findall(r"[\w/]+\.md", str(nav))
    made = {f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")} | {"cli.md"}
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES[1:]}
    assert sorted(named) == sorted(pages | made)


def test_the_readme_shows_a_recipe():
    assert "README.md" in [shown.id for shown in SHOWN]


@pytest.mark.parametrize("script", sorted((ROOT / "docs").rglob("*.py")), ids=lambda path: path.name)
def test_what_a_script_of_the_docs_imports_exists(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("darkcovid"):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}"), name.name
