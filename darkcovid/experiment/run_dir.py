"""The run folder: where a run's files go, what state it is in, and which unfinished run of a recipe can be resumed."""

import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from darkcovid.core.credentials import without_credentials
from darkcovid.core.environment import Environment, current_environment, parse_environment
from darkcovid.core.errors import Interrupted, UsageError, one_line
from darkcovid.core.io import write_json, write_text
from darkcovid.recipe import Recipe


class RunDir:
    """One run's folder. Every file in it is written whole or not at all.

    Attributes:
        path: Of the folder.
        listeners: Called with each event, once it is in `events.jsonl`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.listeners: list[Callable[[dict[str, Any]], None]] = []

    @classmethod
    def create(cls, runs_dir: Path, recipe: Recipe) -> "RunDir":
        """A new folder `<name>-<utc time>-<recipe digest>`, with the resolved recipe and the environment in it.

        Args:
            runs_dir: The folder of all runs.
            recipe: What is run.

        Returns:
            The run's folder.

        Raises:
            UsageError: It cannot be made there.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            path = make_unique_dir(runs_dir, f"{recipe.name}-{stamp}-{recipe.digest()}")
        except OSError as error:
            raise UsageError(f"--runs-dir {runs_dir}: cannot make a run folder there ({error.strerror})") from None
        run = cls(path)
        run._describe(recipe)
        return run

    @classmethod
    def shared(cls, path: Path, recipe: Recipe) -> "RunDir":
        """The folder at `path`, made by whichever call comes first.

        Args:
            path: The folder.
            recipe: What is run.

        Returns:
            The run's folder.

        Raises:
            UsageError: It holds another recipe's run, or cannot be made there.
        """
        run, resolved = cls(path), path / "recipe.yaml"
        try:
            path.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(path / ".lock"):
                if not resolved.is_file():
                    write_json(path / "environment.json", current_environment().as_dict())
                    run.set_state("running", shared=True)
                    write_text(resolved, recipe.to_yaml())
                elif resolved.read_text(encoding="utf-8") != recipe.to_yaml():
                    raise UsageError(f"--run-dir {path}: another recipe's run, or another version's; give another folder")
        except OSError as error:
            raise UsageError(f"--run-dir {path}: cannot make a run folder there ({error.strerror})") from None
        return run

    @classmethod
    def unfinished(cls, runs_dir: Path, recipe: Recipe) -> "RunDir":
        """The newest run of exactly this recipe that is not done.

        Args:
            runs_dir: The folder of all runs.
            recipe: What is run.

        Returns:
            The run's folder.

        Raises:
            UsageError: There is none.
        """
        candidates = sorted(runs_dir.glob(f"{recipe.name}-*-{recipe.digest()}*"), reverse=True)
        for path in candidates:
            if path.is_dir() and cls(path).state() != "done":
                run = cls(path)
                run._describe(recipe)
                run._drop_torn_event()
                return run
        raise UsageError(f"--resume: no unfinished run of this recipe in {runs_dir}; leave --resume out to start one")

    def _describe(self, recipe: Recipe) -> None:
        """The recipe and the environment, where a killed run did not come to write them."""
        if not (self.path / "recipe.yaml").is_file():
            write_text(self.path / "recipe.yaml", recipe.to_yaml())
        if not (self.path / "environment.json").is_file():
            write_json(self.path / "environment.json", current_environment().as_dict())

    def arm(self, name: str) -> Path:
        """The folder of an arm."""
        return self.path / name

    def environment(self) -> Environment:
        """That in which the run began; one without anything known, where its file is damaged."""
        try:
            return parse_environment(json.loads((self.path / "environment.json").read_text()))
        except (OSError, ValueError):
            return Environment(libraries={})

    def state(self) -> str:
        """running, done, failed or interrupted, as `status.json` says; else unknown."""
        try:
            return json.loads((self.path / "status.json").read_text())["state"]
        except (OSError, ValueError, KeyError, TypeError):
            return "unknown"

    def set_state(self, state: str, **details: Any) -> None:
        """Write `status.json`, and add the same to `events.jsonl`.

        Args:
            state: running, done, failed or interrupted.
            **details: More keys of both.
        """
        status = {
            "state": state,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "host": platform.node(),
            **details,
        }
        write_json(self.path / "status.json", status)
        self.event(state, **details)

    @contextmanager
    def tracked(self, **details: Any) -> Iterator[None]:
        """A context in which `status.json` says how the run stands: running, then done, failed or interrupted.

        Args:
            **details: More keys of the first status.

        Yields:
            Nothing.

        Raises:
            Interrupted: For a KeyboardInterrupt inside; everything else is raised as it is.
        """
        self.set_state("running", **details)
        try:
            yield
            self.set_state("done")
        except KeyboardInterrupt:
            self.set_state("interrupted")
            raise Interrupted from None
        except BaseException as error:
            self.set_state("failed", reason=without_credentials(one_line(error)))
            raise

    def event(self, what: str, **details: Any) -> None:
        """Append one line to `events.jsonl`.

        Args:
            what: The event's name.
            **details: More keys.
        """
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": what, **details}
        with (self.path / "events.jsonl").open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            torn = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * torn + json.dumps(line).encode() + b"\n")
        for listener in self.listeners:
            listener(line)

    def last_epoch(self, arm: str) -> int:
        """The last epoch of a fit that `events.jsonl` has, 0 where it has none."""
        epochs = [event["epoch"] for event in self.events() if event["event"] == "epoch" and event["arm"] == arm]
        return max(epochs, default=0)

    def events(self) -> list[dict[str, Any]]:
        """Every whole line of `events.jsonl`; a full disk or a power cut can leave half a line."""
        path = self.path / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [event for line in lines if (event := _parsed(line)) is not None]

    def _drop_torn_event(self) -> None:
        """A full disk or a power cut can leave half a line at the end."""
        path = self.path / "events.jsonl"
        if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


class ReadOnlyRunDir(RunDir):
    """The main process's run folder, as the other processes of a fit have it: they read it and write nothing."""

    def set_state(self, state: str, **details: Any) -> None:
        """Nothing: the main process writes it.

        Args:
            state: Unused.
            **details: Unused.
        """

    def event(self, what: str, **details: Any) -> None:
        """Nothing: the main process writes it.

        Args:
            what: Unused.
            **details: Unused.
        """


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


def make_unique_dir(parent: Path, name: str) -> Path:
    """A new folder called `name`, or `name-2` and so on where there is one.

    Args:
        parent: Where it is made.
        name: Of the folder.

    Returns:
        Its path.

    Raises:
        UsageError: A thousand are there.
        OSError: It cannot be made.
    """
    for attempt in range(1000):
        path = parent / (name if attempt == 0 else f"{name}-{attempt + 1}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise UsageError(f"{parent}: a thousand runs called {name} exist already; clear some of them")
