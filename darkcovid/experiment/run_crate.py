"""A run as an RO-Crate (Soiland-Reyes et al. 2022): all that a reviewer needs in one ZIP, each file hashed, no radiograph in it.

The run itself is described by the profile Process Run Crate (Leo et al. 2024): which software made which files from which recipe.
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from darkcovid import __version__
from darkcovid.audits.checks import RunEvidence, run_checks
from darkcovid.audits.guidelines import GUIDELINES
from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.core.io import atomic_path, sha256_file, write_text
from darkcovid.experiment.trackers import OF_TRACKERS
from darkcovid.report.guideline_files import write_guideline
from darkcovid.report.html import read_evidence, render_report
from darkcovid.report.verdict import verdict

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
SUFFIXES = (".json", ".csv", ".yaml", ".md", ".safetensors")
LEFT_OUT = ("thumbnails.json", "status.json", "events.jsonl")  # radiographs; this machine's name
CHARTS = ("accuracy", "loss", "learning_rate", "roc", "precision_recall", "confusion_matrix", "reliability", "risk_coverage")
LICENSE_NOT_STATED = "not stated: the authors say under which license readers may use this run"
SUMS = "SHA256SUMS"


def write_run_crate(run: Path, output: Path, license_name: str | None = None) -> list[str]:
    """Pack a finished run, or an audit, without radiographs.

    The report and the reporting guidelines are made anew, the report without images. Names of images and patients stay as the
    manifest has them.

    Args:
        run: The folder.
        output: The ZIP.
        license_name: Under which readers may use it, as an address or a name; None: not stated.

    Returns:
        Paths of the files in it, without the crate's own.

    Raises:
        UsageError: Not a finished run, or `output` is no ZIP.
        DarkCovidError: The extra is not installed.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise DarkCovidError("an RO-Crate needs its library; install `darkcovid[report]`") from None
    if output.suffix.lower() != ".zip":
        raise UsageError(f"--output {output}: an RO-Crate is one ZIP; name it so")
    evidence = read_evidence(run)
    checks = run_checks(evidence)
    with tempfile.TemporaryDirectory(prefix="darkcovid-crate-") as folder:
        made = Path(folder)
        write_text(made / "report.html", render_report(evidence, checks))
        for name in GUIDELINES:
            write_guideline(evidence, checks, name, made / f"{name}.md")
        packed = made / "packed"
        files = {path.relative_to(run).as_posix(): _without_places(path, run, packed) for path in _files(run)}
        files |= {path.name: _without_places(path, run, packed) for path in sorted(made.glob("*.*"))}
        sums = {name: sha256_file(path) for name, path in sorted(files.items())}
        write_text(made / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
        crate = ROCrate(version="1.1")
        crate.metadata.extra_terms["sha256"] = "https://schema.org/sha256"  # not among the terms of version 1.1
        crate.name = f"{evidence.name}: {run.resolve().name}"
        crate.description = " ".join(verdict(evidence, checks))
        crate.license = _license(crate, license_name)
        crate.datePublished = datetime.now(UTC)
        entities = [_add(crate, files[name], name, digest) for name, digest in sums.items()]
        _add(crate, made / SUMS, SUMS, sha256_file(made / SUMS))
        _describe_process(crate, entities, _placeless(" ".join(evidence.environment.command), run), evidence)
        with atomic_path(output) as temporary:
            crate.write_zip(temporary)
    return list(sums)


def _files(run: Path) -> Iterator[Path]:
    """What of a run shows no radiograph: a list of kinds, so that what a later version adds is left out until somebody looks."""
    for path in sorted(run.rglob("*")):
        chart = path.parent.name == "plots" and path.suffix == ".png" and path.stem in CHARTS
        table = path.suffix in SUFFIXES or path.name == "comparison.png"
        parts = path.relative_to(run).parts
        hidden = any(part.startswith(".") for part in parts) or parts[0] in OF_TRACKERS
        guideline = path.parent == run and path.stem in GUIDELINES
        if (
            path.is_file()
            and not path.is_symlink()
            and not hidden
            and not guideline
            and path.name not in LEFT_OUT
            and (table or chart)
        ):
            yield path


def _without_places(path: Path, run: Path, folder: Path) -> Path:
    """The file, or a copy of a text without the run's place and the home folder of this machine's user."""
    if path.suffix == ".safetensors" or path.suffix == ".png":
        return path
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return path
    placeless = _placeless(text, run)
    if placeless == text:
        return path
    copy = folder / path.relative_to(run if path.is_relative_to(run) else path.parent)
    write_text(copy, placeless)
    return copy


def _placeless(text: str, run: Path) -> str:
    place, root = run.resolve(), Path("/")
    text = text.replace(str(place), place.name)
    text = text if place.parent == root else text.replace(f"{place.parent}/", "")
    return text if Path.home() == root else text.replace(str(Path.home()), "~")


def _add(crate: Any, path: Path, name: str, digest: str) -> Any:
    about = {"name": name, "sha256": digest, "contentSize": str(path.stat().st_size)}
    return crate.add_file(path, name, properties=about | {"encodingFormat": guess_type(name)[0] or "application/octet-stream"})


def _license(crate: Any, name: str | None) -> Any:
    """What the crate says of its license: an address as an entity of its own, as the specification recommends."""
    from rocrate.model.contextentity import ContextEntity

    if name is None or not name.startswith(("http://", "https://")):
        return name or LICENSE_NOT_STATED
    return crate.add(ContextEntity(crate, name, properties={"@type": "CreativeWork", "name": name}))


def _describe_process(crate: Any, entities: list[Any], command: str, evidence: RunEvidence) -> None:
    from rocrate.model.contextentity import ContextEntity

    def entity(identifier: str, **properties: Any) -> Any:
        return crate.add(ContextEntity(crate, identifier, properties=properties))

    profile = entity(PROFILE, **{"@type": "CreativeWork"}, name="Process Run Crate", version="0.5")
    software = entity("#darkcovid", **{"@type": "SoftwareApplication"}, name="darkcovid", softwareVersion=__version__)
    action = entity("#run", **{"@type": "CreateAction"}, name=command or "darkcovid")
    action["instrument"] = software
    audited = {} if evidence.subject is None else evidence.subject.files
    files = [entity(f"#{arm}", **{"@type": "CreativeWork"}, name=Path(file).name) for arm, file in audited.items()]
    action["object"] = [each for each in entities if each.id == "recipe.yaml"] + files
    action["result"] = [each for each in entities if each.id != "recipe.yaml"]
    crate.root_dataset["conformsTo"] = profile
    crate.root_dataset["mentions"] = action
