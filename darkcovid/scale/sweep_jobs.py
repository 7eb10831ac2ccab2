"""Several trials of a sweep at once: each worker is a command that asks for the next until all are made."""

from concurrent.futures import ThreadPoolExecutor, wait

from darkcovid.core.errors import DarkCovidError
from darkcovid.experiment.sweep.trials import TrialContext, trial_line
from darkcovid.scale.parallel import Commands

BETWEEN = 1.0  # seconds from one look at the trials to the next


def make_trials_in_parallel(context: TrialContext, workers: Commands) -> None:
    """What `make_trials` does, several trials at a time.

    Args:
        context: What they need.
        workers: As many as trials at a time.

    Raises:
        DarkCovidError: A worker failed; the others are finished first, and the sweep can be resumed.
        KeyboardInterrupt: Stopped by SIGINT or SIGTERM, and its workers with it.
    """
    deadline, jobs = context.deadline, workers.jobs
    words = ["sweep-worker", str(context.directory.path.absolute()), "--cache-dir", str(context.cache.absolute())]
    if deadline.minutes is not None:
        words += ["--minutes", f"{max(deadline.seconds_left / 60, 0.01):.4f}"]
    with workers.signals_passed_on(), ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(workers.call, *words, say_parent=True) for _ in range(jobs)]
        told = {record.number for record in context.study.records() if record.state != "running"}
        while not all(work.done() for work in running):
            wait(running, BETWEEN)
            _tell_ended(context, told, jobs)
    if workers.stopped.is_set():
        raise KeyboardInterrupt
    results = [work.result() for work in running]
    context.study.drop_unfinished()
    failed = [lines[-1].removeprefix("error: ") for code, lines in results if code]
    if failed:
        raise DarkCovidError(f"{len(failed)} of {jobs} workers failed, the first with: {failed[0]}; continue with --resume")


def _tell_ended(context: TrialContext, told: set[int], jobs: int) -> None:
    """Show the trials that have ended since; their numbers are added to `told`."""
    for record in context.study.records():
        if record.number not in told and record.state in ("complete", "pruned", "failed"):
            told.add(record.number)
            context.progress.stage(trial_line(context, record.number, jobs))
