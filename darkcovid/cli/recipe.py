"""Commands on recipes: recipe schema, recipe reference."""

import typer

from darkcovid.cli.helpers import run_heavy

recipe_app = typer.Typer(help="What a recipe may say.", no_args_is_help=True)


@recipe_app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, by which editors check and complete one."""

    def work() -> str:
        from darkcovid.recipe.reference import schema_text

        return schema_text()

    typer.echo(run_heavy(work), nl=False)


@recipe_app.command()
def reference() -> None:
    """Print every key of a recipe with its values, default and meaning, as Markdown."""

    def work() -> str:
        from darkcovid.recipe.reference import markdown

        return markdown()

    typer.echo(run_heavy(work), nl=False)
