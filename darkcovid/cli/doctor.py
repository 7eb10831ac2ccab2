"""The command that looks at the machine: doctor."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from darkcovid.cli.helpers import cache_folder, print_result, run_heavy
from darkcovid.cli.options import CacheDir, DataRoot, Json

MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def doctor(
    manifest: Annotated[Path | None, typer.Option("--manifest", metavar="PATH", help="Look for this manifest's images.")] = None,
    data_root: DataRoot = None,
    self_test: Annotated[bool, typer.Option("--self-test/--no-self-test", help="Train for seconds on phantoms.")] = True,
    json_: Json = False,
    cache_dir: CacheDir = None,
) -> None:
    """Look at versions, device, disk, cache and data, and train for seconds on phantoms; say what to do about each problem.
    Exit code 1 if something fails."""
    listed = manifest or (Path("data_manifest.csv") if Path("data_manifest.csv").is_file() else None)

    def work() -> list:
        from darkcovid.experiment.doctor import run_diagnostics

        findings = []
        for finding in run_diagnostics(cache_folder(cache_dir), listed, data_root, self_test):
            findings.append(finding)
            if not json_:
                typer.echo(f"{MARKS[finding.state]}  {finding.about}: {finding.words}")
                if finding.advice:
                    typer.echo(f"      {finding.advice}")
        return findings

    findings = run_heavy(work)
    print_result([asdict(finding) for finding in findings], json_, lambda: None)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)
