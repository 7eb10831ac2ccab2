"""MLflow: a run of ours is a run there, each fit and each arm a nested one."""

import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # training does not wait long for a server that is gone
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for results

from mlflow.entities import Metric, Param, Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from darkcovid.core.credentials import without_credentials
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.core.log import logger
from darkcovid.experiment.run_summary import run_verdict

logging.getLogger("mlflow").setLevel(logging.WARNING)
RUN_TAG, FIT_TAG = "darkcovid.run", "darkcovid.fit"
BATCH = 100  # of parameters, MLflow's limit
LONGEST_REASON = 300  # of what a library says
LONGEST = 6000  # letters of a parameter, likewise
_REFUSED = re.compile(r"[^\w/.:\- ]")


class MlflowTracker:
    """A `Tracker` that writes to an MLflow server or database.

    Args:
        uri: Its tracking URI; None: MLFLOW_TRACKING_URI, or `mlflow.db` in the current folder.
    """

    def __init__(self, uri: str | None = None):
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"
        self.where = without_credentials(self.uri)
        self.client = MlflowClient(self.uri)
        self.experiment, self.parent, self.run = "", "", Path()
        self.nested: dict[str, str] = {}

    def begin(self, run: Path, params: Mapping[str, str]) -> None:
        """As `Tracker.begin`; a run that is resumed goes on where it was.

        Args:
            run: Its folder.
            params: The resolved recipe by dotted key.

        Raises:
            UsageError: The run is there already, and ended.
        """
        self.run = run
        self.experiment = self._experiment(params.get("name", "darkcovid"))
        earlier = self.client.search_runs([self.experiment], f"tags.`{RUN_TAG}` = '{run.name}'", max_results=1)
        if earlier and earlier[0].info.status == "FINISHED":
            there = f"{without_credentials(self.uri)} already, as run {earlier[0].info.run_id}"
            raise UsageError(f"{run.name}: it is in {there}; remove that one first")
        if earlier:
            self.parent = earlier[0].info.run_id
            self.client.update_run(self.parent, status="RUNNING")
            return
        self.parent = self._new_run(run.name, {RUN_TAG: run.name})
        pairs = [Param(_name(key), value[:LONGEST]) for key, value in params.items()]
        for start in range(0, len(pairs), BATCH):
            self.client.log_batch(self.parent, params=pairs[start : start + BATCH])

    def epoch(self, fit: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """As `Tracker.epoch`.

        Args:
            fit: `arm`, or `arm/fold1-seed7`.
            epoch: From 1.
            metrics: Of it.
        """
        self._log(self._nested(fit), metrics, epoch)

    def finish(self, arms: Mapping[str, Mapping[str, float]], plots: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        """As `Tracker.finish`.

        Args:
            arms: Final metrics of each arm.
            plots: PNG files by name.
            texts: More files by name.
        """
        for arm, metrics in arms.items():
            self._log(self._nested(arm), {f"final/{name}": value for name, value in metrics.items()}, 0)
            self._log(self.parent, {f"{arm}/{name}": value for name, value in metrics.items()}, 0)
        for name, path in plots.items():
            self.client.log_artifact(self.parent, str(path), f"plots/{name.rpartition('/')[0]}".rstrip("/"))
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                file = Path(folder) / name
                file.write_text(text, encoding="utf-8")
                self.client.log_artifact(self.parent, str(file))
        verdict = run_verdict(self.run)
        if verdict:
            self.client.set_tag(self.parent, MLFLOW_RUN_NOTE, verdict)  # the run's description in MLflow's UI
        for arm in arms:
            self._model(arm)

    def close(self, failed: bool) -> None:
        """As `Tracker.close`; also for fits that an earlier process told of before it was interrupted.

        Args:
            failed: Whether the run ended before it was done.
        """
        state = "FAILED" if failed else "FINISHED"
        for run in (*self._all_nested(), self.client.get_run(self.parent)):
            if run.info.status not in (state, "FINISHED"):
                self.client.set_terminated(run.info.run_id, state)

    def _model(self, arm: str) -> None:
        """Log an arm's classifier; one that cannot be exported is warned of, and the run is written without it."""
        if not any((self.run / arm).glob("**/weights.safetensors")):
            return
        from darkcovid.experiment.trackers.mlflow_model import log_arm_model

        logger.info(f"mlflow: exporting the model of {arm}")
        try:
            log_arm_model(self.uri, self._nested(arm), self.run, arm, re.sub(r"[^\w-]+", "_", f"{self.run.name}-{arm}"))
        except Exception as error:  # noqa: BLE001 (an exporter that fails, or a server too old for models)
            reason = one_line(error) if isinstance(error, DarkCovidError) else shorten(one_line(error), LONGEST_REASON)
            logger.warning(f"mlflow: {arm} without its model: {without_credentials(reason)}")

    def _all_nested(self) -> list[Run]:
        found: list[Run] = []
        token, query = None, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent}'"
        while True:
            page = self.client.search_runs([self.experiment], query, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _experiment(self, name: str) -> str:
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        files = (Path.cwd() / "mlartifacts").as_uri() if self.uri.startswith("sqlite:") else None
        return self.client.create_experiment(name, artifact_location=files)

    def _nested(self, fit: str) -> str:
        if fit not in self.nested:
            query = f"tags.`{FIT_TAG}` = '{fit}' AND tags.`{MLFLOW_PARENT_RUN_ID}` = '{self.parent}'"
            earlier = self.client.search_runs([self.experiment], query, max_results=1)
            tags = {FIT_TAG: fit, MLFLOW_PARENT_RUN_ID: self.parent}
            self.nested[fit] = earlier[0].info.run_id if earlier else self._new_run(f"{self.run.name}/{fit}", tags)
        return self.nested[fit]

    def _new_run(self, name: str, tags: dict[str, str]) -> str:
        created = self.client.create_run(self.experiment, tags={**tags, MLFLOW_RUN_NAME: name}, run_name=name)
        return created.info.run_id

    def _log(self, run: str, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        values = [Metric(_name(name), float(value), now, step) for name, value in metrics.items()]
        for start in range(0, len(values), BATCH):
            self.client.log_batch(run, metrics=values[start : start + BATCH])


def _name(text: str) -> str:
    """Without letters that MLflow refuses in names."""
    return _REFUSED.sub("_", text)
