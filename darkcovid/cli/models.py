"""Commands on networks: models, models show."""

from typing import Annotated, Any

import typer

from darkcovid.cli.common import emit, with_fastai
from darkcovid.cli.options import Json

models_app = typer.Typer(help="List the networks, or show one.", invoke_without_command=True)


@models_app.callback()
def list_models(context: typer.Context, json_: Json = False) -> None:
    if context.invoked_subcommand is None:

        def work() -> list[dict[str, Any]]:
            from darkcovid.model_summary import table

            return table()

        rows = with_fastai(work)
        emit(rows, json_, lambda: [typer.echo(f"{r['name']:16}{r['parameters']:>12,}  {r['source']}") for r in rows])


@models_app.command()
def show(
    name: str,
    classes: Annotated[int, typer.Option(min=2)] = 3,
    size: Annotated[int | None, typer.Option(min=32, help="Input side in pixels; the network's own by default.")] = None,
    head: str = "faithful",
    json_: Json = False,
) -> None:
    """A network's layers, output shapes and parameters."""

    def work() -> dict[str, Any]:
        from darkcovid.model_summary import summarise

        return summarise(name, classes, size, head)

    summary = with_fastai(work)

    def show_layers() -> None:
        for layer in summary["layers"]:
            shape = "x".join(map(str, layer["output"]))
            typer.echo(f"{layer['name']:12}{layer['kind']:20}{shape:>16}{layer['parameters']:>12,}")
        typer.echo(f"{summary['parameters']:,} parameters, {summary['trainable_parameters']:,} trainable")

    emit(summary, json_, show_layers)
