"""Commands on recipes: recipe list, show, schema, reference."""

from pathlib import Path
from typing import Annotated

import typer

from darkcovid.cli.helpers import print_result, run_heavy
from darkcovid.cli.options import Json
from darkcovid.core.errors import UsageError

recipe_app = typer.Typer(help="What a recipe may say.", no_args_is_help=True)


@recipe_app.command("list")
def list_(json_: Json = False) -> None:
    """List the shipped recipes, which `darkcovid run NAME` finds by their names."""
    from darkcovid.recipe.shipped import shipped_recipes, summary

    recipes = {name: summary(path) for name, path in shipped_recipes().items()}
    width = max(map(len, recipes), default=0)
    lines = [f"{name:{width}}  {text}" for name, text in recipes.items()]
    print_result(recipes, json_, lambda: typer.echo("\n".join(lines)))


@recipe_app.command()
def show(name: Annotated[Path, typer.Argument(metavar="RECIPE", help="The name of a shipped recipe, or a file.")]) -> None:
    """Print a recipe's file, to copy and change: darkcovid recipe show segmented > mine.yaml"""
    from darkcovid.recipe.shipped import find_recipe, shipped_recipes

    path = find_recipe(name)
    if not path.is_file():
        raise UsageError(f"{name}: no such recipe; `darkcovid recipe list` shows the {len(shipped_recipes())} that ship")
    typer.echo(path.read_text(encoding="utf-8"), nl=False)


@recipe_app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, by which editors check and complete one."""

    def work() -> str:
        from darkcovid.recipe.generated_docs import schema_text

        return schema_text()

    typer.echo(run_heavy(work), nl=False)


@recipe_app.command()
def reference() -> None:
    """Print every key of a recipe with its values, default and meaning, as Markdown."""

    def work() -> str:
        from darkcovid.recipe.generated_docs import markdown

        return markdown()

    typer.echo(run_heavy(work), nl=False)
