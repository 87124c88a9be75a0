"""What MLflow shows of a search: a parent run, a nested run for each candidate, the winner as a model.

MLflow is a view. All of it is made from the run folder, so it can be deleted and made again, and what stands in it
already is not written twice. Only this module, `tasks.models` and `tasks.champion`, which MLflow itself loads, know
MLflow.
"""

from __future__ import annotations

import html
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.canonical import digest_bytes
from llmastool.errors import LLMasToolError
from tasks.models import log_model
from tasks.records import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "llmastool"
BATCH = 1000
"""Metric rows that MLflow takes in one call."""

RESERVED = "mlflow.parentRunId"
"""Tag by which MLflow nests a run in another."""

NOTE = "mlflow.note.content"
"""Tag that MLflow's page shows as the description of a run."""

WATCH_SECONDS = 20
"""Seconds between two looks at what the machine does."""


class TrackingError(LLMasToolError):
    """MLflow could not be written. The search is not touched by that."""


@dataclass(frozen=True)
class Tracker:
    """Writes one search into MLflow on SQLite."""

    root: Path
    """Folder of the database, `mlflow.db`, and of `artifacts/`; made where it is missing."""
    key: str
    """Key of the search: the name of its run folder."""
    name: str
    """Name of the parent run on MLflow's page."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the search, flat."""

    @property
    def uri(self) -> str:
        """Address of the database. MLflow keeps absolute paths, so a moved folder is made again."""
        return f"sqlite:///{self.root.resolve()}/mlflow.db"

    def write(self, records: Sequence[RunRecord]) -> int:
        """Write those of the records that are not there yet; return how many that were.

        Raises:
            TrackingError: MLflow could not be written.
        """
        with _failures(self.uri):
            known = self._known()
            new = [record for record in records if record.trial_key not in known]
            for record in new:
                known[record.trial_key] = self._write_run(record, known.get(record.parent_key or ""))
            return len(new)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have what the machine does (processors, memory, disk, network, GPUs) in the search's run from time to time.

        Raises:
            TrackingError: MLflow could not be written.
        """
        with _failures(self.uri):
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitor = SystemMetricsMonitor(self._parent, WATCH_SECONDS, resume_logging=True, tracking_uri=self.uri)
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def summarise(self, metrics: Mapping[str, float], *, step: int, finished: bool) -> None:
        """Set metrics of the search as a whole where they changed, and whether it is over.

        Args:
            metrics: values by name.
            step: how far the search is, in candidates; the axis of their charts.
            finished: whether it is over.

        Raises:
            TrackingError: MLflow could not be written.
        """
        from mlflow.entities import Metric

        with _failures(self.uri):
            known, now = self._client.get_run(self._parent).data.metrics, int(time.time() * 1000)
            changed = {name: value for name, value in sorted(metrics.items()) if known.get(name) != value}
            self._client.log_batch(self._parent, metrics=[Metric(k, float(v), now, step) for k, v in changed.items()])
            if finished:
                self._client.set_terminated(self._parent)

    def load(self) -> None:
        """Import what models are logged with, and open the database.

        Raises:
            TrackingError: MLflow could not be written.
        """
        import mlflow.pyfunc  # noqa: F401

        self.write([])

    def log_champion(self, final: Path, data: Path, model: str) -> str:
        """Log the winner as a model, register it and point the alias `champion` at it.

        Args:
            final: folder that the final stage wrote: `best.py`, `best.json`, `weights.safetensors`.
            data: folder of the prepared image set; the model takes its raw images.
            model: name in MLflow's registry of models.

        Returns:
            Its version, the earlier one when this winner is registered already.

        Raises:
            TrackingError: MLflow could not be written.
        """
        files = [final / name for name in ("best.py", "best.json", "weights.safetensors")]
        champion = digest_bytes(*(path.read_bytes() for path in files))[:16]
        with _failures(self.uri):
            for version in self._client.search_model_versions(f"name = '{model}'"):
                if version.tags.get("champion_key") == champion:
                    self._client.set_registered_model_alias(model, "champion", version.version)
                    return str(version.version)
            tags = {"trial_key": f"{self.key}/champion/{champion}", "kind": "champion", RESERVED: self._parent}
            run = self._client.create_run(self._experiment, run_name="champion", tags=tags)
            number = log_model(self.uri, run.info.run_id, final, data, model)
            self._client.set_model_version_tag(model, number, "champion_key", champion)
            self._client.set_registered_model_alias(model, "champion", number)
            return number

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        self.root.mkdir(parents=True, exist_ok=True)
        # A database that cannot be opened is told at once here; MLflow would try for a minute, each time.
        with closing(sqlite3.connect(self.root / "mlflow.db")) as database:
            database.execute("PRAGMA schema_version")
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        artifacts = (self.root.resolve() / "artifacts").as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=artifacts))

    @cached_property
    def _parent(self) -> str:
        from mlflow.entities import Param

        found = self._client.search_runs([self._experiment], f"tags.trial_key = '{self.key}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {"trial_key": self.key, "kind": "search"}
        run = self._client.create_run(self._experiment, run_name=self.name, tags=tags)
        run_id = str(run.info.run_id)
        params = [Param(name, value) for name, value in sorted(self.params.items())]
        for first in range(0, len(params), 100):
            self._client.log_batch(run_id, params=params[first : first + 100])
        return run_id

    def _known(self) -> dict[str, str]:
        """Return the whole runs by their keys. Half-written ones, left by a kill, are taken away."""
        runs, token = dict[str, str](), None
        while True:
            where = f"tags.`{RESERVED}` = '{self._parent}'"
            page = self._client.search_runs([self._experiment], where, max_results=1000, page_token=token)
            for run in page:
                if run.info.status == "RUNNING":
                    self._client.delete_run(run.info.run_id)
                else:
                    runs[run.data.tags["trial_key"]] = str(run.info.run_id)
            token = page.token
            if not token:
                return runs

    def _write_run(self, record: RunRecord, parent: str | None) -> str:
        """Write a run whose network was made from that of the run `parent`, and return its id."""
        from mlflow.entities import Metric, Param, RunTag

        tags = {"trial_key": record.trial_key, RESERVED: self._parent}
        if parent is not None:
            tags["parent_run"] = parent
        tags[NOTE] = self._note(record, parent)
        created = self._client.create_run(self._experiment, start_time=record.start, run_name=record.name, tags=tags)
        run = str(created.info.run_id)
        for name, text in record.texts.items():
            self._client.log_text(run, text, name)
        metrics = [Metric(row.name, row.value, row.milliseconds, row.step) for row in record.metrics]
        for first in range(BATCH, len(metrics), BATCH):
            self._client.log_batch(run, metrics=metrics[first : first + BATCH])
        self._client.log_batch(
            run,
            metrics=metrics[:BATCH],
            params=[Param(name, value) for name, value in record.params.items()],
            tags=[RunTag(name, value) for name, value in record.tags.items()],
        )
        self._client.set_terminated(run, record.status, end_time=record.end)
        return run

    def _note(self, record: RunRecord, parent: str | None) -> str:
        """Return what is said of a candidate at the top of its page: what was done to what, with a link to that."""
        change = html.escape(record.change, quote=False)
        if parent is None:
            return change
        return f"{change}\n\nMade from [its parent](#/experiments/{self._experiment}/runs/{parent})."


@contextmanager
def _failures(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database and the disk can raise into `TrackingError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrackingError(
            f"MLflow at {uri} could not be written: {reason}. Nothing of the search is lost: mend or remove that "
            "database and run the same command again"
        ) from error
