"""Checks 35 to 38: can another reader judge it, and run it again?"""

from darkcovid.evaluation.checks.listing import AUTHOR, PASS, Answer, Evidence, check


@check(35, "reporting", "CLAIM, TRIPOD+AI, PROBAST+AI")
def _sheet(e: Evidence) -> Answer:
    return AUTHOR, "the reporting sheet below is filled in as far as a program can; the rest is the author's"


@check(36, "reporting", "model card")
def _card(e: Evidence) -> Answer:
    return PASS, "below; not for diagnosis"


@check(37, "reporting", "environment, hardware, time, memory")
def _environment(e: Evidence) -> Answer:
    versions = e.environment["libraries"]
    tools = f"darkcovid {e.environment['darkcovid']}, torch {versions['torch']}, fastai {versions['fastai']}"
    return PASS, f"{tools}, {e.environment['platform']}; time and memory in each arm's timing.json"


@check(38, "reporting", "the command to run it again")
def _command(e: Evidence) -> Answer:
    return PASS, "darkcovid run recipe.yaml, the file in the run folder"
