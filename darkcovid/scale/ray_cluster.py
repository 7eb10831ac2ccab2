"""Commands as tasks of Ray, on one machine or a cluster of several, which schedules them, hands out GPUs and tries them again.

All machines must have darkcovid, and see the images, the run folder and the cache under the same paths (a shared file system).
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from darkcovid.core.available_processors import available_processors
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.core.log import logger
from darkcovid.scale.parallel import Commands, last_lines, start_command

TRIES = 3  # after the first
FAILED = 1  # exit code
CONNECT_SECONDS = 10
LOOK_SECONDS = 0.5  # Ray cancels a task by an exception, which a thread that waits for a process sees only when it looks up


class RayCluster(Commands):
    """Commands as tasks of Ray. A fit has a GPU of its own where the cluster has any; its CPUs are its machine's share.

    Args:
        jobs: How many at a time; None: one per GPU, or per machine where there are none.

    Raises:
        UsageError: Ray is not installed.
        DarkCovidError: The cluster of RAY_ADDRESS does not answer.
    """

    def __init__(self, jobs: int | None = None):
        self.ray = start_ray()
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cpus = [int(machine.get("CPU", 0)) for machine in machines if machine.get("CPU", 0) >= 1]
        gpus = int(sum(machine.get("GPU", 0) for machine in machines))
        if not cpus:
            raise DarkCovidError("ray: the cluster has no CPU to run fits on; add machines to it")
        super().__init__(jobs or gpus or len(cpus))
        per_machine = -(-self.jobs // len(cpus))
        self.threads = max(1, min(cpus) // per_machine)
        self.gpus = min(1.0, gpus / self.jobs)
        self.running: set[Any] = set()

    def call(self, *words: str, say_parent: bool = False) -> tuple[int, list[str]]:
        """As `Commands.call`; a command that is killed, or whose machine is lost, is tried again.

        Args:
            *words: Of the command line.
            say_parent: Whether to add `--parent`.

        Returns:
            Its exit code, and the lines that it printed on stderr, at least one.
        """
        for left in reversed(range(TRIES + 1)):
            code, lines = self._call(words, say_parent)
            if code >= 0 or not left or self.stopped.is_set():
                break
            logger.warning("ray: a command was killed by signal %d; it is tried again", -code)
        return code, lines

    def stop(self) -> None:
        """As `Commands.stop`."""
        self.stopped.set()
        for running in tuple(self.running):
            self.ray.cancel(running)

    @contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """As `Commands.signals_passed_on`. What Ray prints meanwhile goes to stderr."""
        with redirect_stdout(sys.stderr), super().signals_passed_on():
            yield

    def _call(self, words: Sequence[str], say_parent: bool) -> tuple[int, list[str]]:
        task = self.ray.remote(_run_command).options(num_cpus=self.threads, num_gpus=self.gpus, max_retries=TRIES)
        running = task.remote(words, self.threads, say_parent, str(Path.cwd()))
        self.running.add(running)
        if self.stopped.is_set():
            self.ray.cancel(running)
        try:
            return self.ray.get(running)
        except self.ray.exceptions.TaskCancelledError:
            return 130, ["stopped"]
        except self.ray.exceptions.RayError as error:
            return FAILED, [one_line(error)]
        finally:
            self.running.discard(running)


def start_ray() -> Any:
    """The package `ray`, connected to the cluster of RAY_ADDRESS, or to one that is started on this machine.

    Raises:
        UsageError: It is not installed.
        DarkCovidError: The cluster does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(f"--engine ray needs {error.name}; install `darkcovid[ray]`") from None
    if ray.is_initialized():
        return ray
    address, here = os.environ.get("RAY_ADDRESS"), {}
    if address is None:
        here = {"address": "local", "num_cpus": available_processors()[0], "include_dashboard": False}
    try:
        _check_answers(address or "")
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
    except (OSError, RuntimeError, ValueError) as error:
        raise DarkCovidError(f"ray: {address or 'a cluster on this machine'}: {one_line(error)}") from None
    return ray


def _check_answers(address: str) -> None:
    """Connect to HOST:PORT, or raise OSError: Ray itself goes on trying for minutes. Other addresses, as `auto`, pass."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            pass


def _run_command(words: Sequence[str], threads: int, say_parent: bool, folder: str) -> tuple[int, list[str]]:
    """Run on a worker: the exit code and the lines of stderr; the command ends with its task."""
    process = start_command(words, threads, say_parent, folder)
    try:
        lines = last_lines(process, LOOK_SECONDS)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return process.returncode, lines
