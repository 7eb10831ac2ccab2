"""Checks 35 to 38: can another reader judge it, and run it again?"""

from darkcovid.audits.checks.registry import AUTHOR, FAIL, PASS, STATED, WARN, CheckOutcome, RunEvidence, check


@check(35, "reporting", "CLAIM, TRIPOD+AI, PROBAST+AI", declares=True)
def _sheet(e: RunEvidence) -> CheckOutcome:
    return AUTHOR, "the reporting sheet below is filled in as far as a program can; the rest is the author's"


@check(36, "reporting", "model card", declares=True)
def _card(e: RunEvidence) -> CheckOutcome:
    return STATED, "below; not for diagnosis"


@check(37, "reporting", "environment, hardware, time, memory")
def _environment(e: RunEvidence) -> CheckOutcome:
    versions = {"darkcovid": e.environment.darkcovid, **e.environment.libraries}
    unknown = [name for name, version in versions.items() if not version]
    unmeasured = [name for name, arm in e.arms.items() if not (arm.cost.train_seconds and arm.cost.peak_host_bytes)]
    tools = ", ".join(f"{name} {versions.get(name)}" for name in ("darkcovid", "torch", "fastai"))
    text = f"{tools}, {e.environment.platform}; time and memory in each arm's timing.json"
    missing = [f"version of {name}" for name in unknown] + [f"time or memory of {name}" for name in unmeasured]
    return (WARN, f"{text}; not known: {', '.join(missing)}") if missing else (PASS, text)


@check(38, "reporting", "the command to run it again")
def _command(e: RunEvidence) -> CheckOutcome:
    if e.invalid:
        return FAIL, f"recipe.yaml in the run folder is not a valid recipe: {e.invalid}"
    return PASS, "darkcovid run recipe.yaml, the file in the run folder, which is a valid recipe"
