"""Several trials of a sweep at once on one machine: each worker is a process that asks for the next until all are made."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from darkcovid.core.errors import DarkCovidError
from darkcovid.experiment.sweep.trials import TrialContext
from darkcovid.scale.parallel import ChildProcesses


def make_trials_in_parallel(context: TrialContext, jobs: int) -> None:
    """What `make_trials` does, several trials at a time.

    Args:
        context: What they need.
        jobs: Trials at a time, which share the cores.

    Raises:
        DarkCovidError: A worker failed; the others are finished first, and the sweep can be resumed.
        KeyboardInterrupt: Stopped by SIGINT or SIGTERM, and its workers with it.
    """
    deadline = context.deadline
    words = ["sweep-worker", str(context.directory.path), "--cache-dir", str(context.cache), "--parent", str(os.getpid())]
    if deadline.minutes is not None:
        left = deadline.minutes - (time.monotonic() - deadline.began) / 60
        words += ["--minutes", f"{max(left, 0.0):.4f}"]
    workers = ChildProcesses(jobs)
    context.progress.stage(f"{jobs} trials at a time; events.jsonl has each as it ends")
    with workers.signals_passed_on(), ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(workers.call, *words) for _ in range(jobs)]
    if workers.stopped.is_set():
        raise KeyboardInterrupt
    results = [work.result() for work in running]
    context.study.drop_unfinished()
    failed = [lines[-1].removeprefix("error: ") for code, lines in results if code]
    if failed:
        raise DarkCovidError(f"{len(failed)} of {jobs} workers failed, the first with: {failed[0]}; continue with --resume")
