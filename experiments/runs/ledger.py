"""The run's ledger: a SQLite file, and a folder of files for every trial."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, OperationalError

from paretune.experiments.config.policy_file import policy_text
from paretune.experiments.files import disk_errors, no_space, write_atomically
from paretune.experiments.runs.ledger_rows import (
    MEASUREMENTS,
    METADATA,
    PROXIES,
    RESAMPLES,
    RUN,
    SCHEMA_VERSION,
    TRIALS,
    VARIANTS,
    columns_of_ending,
    document_of_resampled,
    proxy_of_row,
    resampled_of,
    row_of_proposal,
    row_of_proxy,
    row_of_variant,
    trial_of,
    variant_of_row,
)
from paretune.experiments.runs.sqlite_engine import reading_engine, writing_engine
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import Variant
from paretune.spaces.errors import RunError
from paretune.spaces.results.evaluator import Split
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.resampling import Resampled
from paretune.spaces.results.trial import Trial, TrialState

_SECONDS_SEARCHED = "seconds_searched"


def trial_folder(run: Path, number: int) -> Path:
    """Return the folder of a trial's files inside the folder of its run."""
    return run / "trials" / f"{number:05d}"


class SqlLedger:
    """A :class:`~paretune.spaces.results.ledger.Ledger` on SQLite; use :meth:`create`, :meth:`open` or :meth:`read`.

    One process writes (the run folder's lock sees to that), any number read at the same time. A write has reached the
    disk when its method returns: write-ahead log, ``synchronous=FULL``. Files of a trial are written before its row.
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self._path = path
        self._engine = engine
        self._one_at_a_time = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make an empty ledger.

        Raises:
            RunError: If there is one already, or it cannot be written.
        """
        if path.exists():
            raise RunError(f"{path} exists already; a new run needs a folder of its own.")
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.unlink(missing_ok=True)
        ledger = cls(unfinished, writing_engine(unfinished))
        with ledger._transaction() as connection:
            METADATA.create_all(connection)
            connection.execute(insert(RUN).values(key="schema", value=SCHEMA_VERSION))
        ledger.close()
        with disk_errors(path):
            unfinished.rename(path)
        return cls(path, writing_engine(path))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a ledger to go on with its run; trials that were left ``running`` become ``interrupted``.

        Raises:
            RunError: If it is missing, damaged, or of another version of Paretune.
        """
        ledger = cls._existing(path, writing_engine)
        with ledger._transaction() as connection:
            connection.execute(
                update(TRIALS)
                .where(TRIALS.c.state == str(TrialState.RUNNING))
                .values(state=str(TrialState.INTERRUPTED), reason="The run ended before it.", ended=TRIALS.c.started)
            )
        return ledger

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open a ledger for reading, while a search writes it or not; nothing is changed.

        Raises:
            RunError: As for :meth:`open`.
        """
        return cls._existing(path, reading_engine)

    @classmethod
    def _existing(cls, path: Path, engine_for: Callable[[Path], Engine]) -> Self:
        if not path.is_file():
            raise RunError(f"{path.parent} is no run: it has no {path.name}. `paretune search` makes one.")
        ledger = cls(path, engine_for(path))
        try:
            found = ledger.fact("schema")
            if found != SCHEMA_VERSION:
                raise RunError(
                    f"{path} was written by another version of Paretune (schema {found}, this one reads "
                    f"{SCHEMA_VERSION}). Use that version, or --out for a new run."
                )
        except RunError:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Let go of the file; the log is merged into it when nobody else has it open."""
        self._engine.dispose()

    def fact(self, key: str) -> Any:
        """Return what was remembered about the run, as plain data; ``None`` where nothing was."""
        with self._transaction() as connection:
            return connection.execute(select(RUN.c.value).where(RUN.c.key == key)).scalar_one_or_none()

    def remember(self, facts: Mapping[str, Any]) -> None:
        """Keep plain data about the run, by key; what was kept under the same key is replaced."""
        with self._transaction() as connection:
            for key, value in facts.items():
                self._put(connection, key, value)

    def trials(self) -> Sequence[Trial]:
        """Return all trials by number, the baseline first."""
        with self._transaction() as connection:
            return self._trials(connection)

    def open_trial(self, *, candidate: Candidate, rung: Rung, origin: str, parameters: Mapping[str, int]) -> Trial:
        """Add a ``running`` trial under the next number."""
        return self._add(candidate, rung, origin, parameters, state=TrialState.RUNNING, started=time.time())

    def reopen_trial(self, number: int) -> Trial:
        """Make an ``interrupted`` trial ``running`` again.

        Raises:
            ValueError: If it is not interrupted.
        """
        with self._transaction() as connection:
            self._expect(connection, number, TrialState.INTERRUPTED)
            connection.execute(
                update(TRIALS)
                .where(TRIALS.c.number == number)
                .values(state=str(TrialState.RUNNING), reason="", started=time.time(), ended=0.0)
            )
            return self._trials(connection, number)[0]

    def close_trial(self, trial: Trial) -> Trial:
        """Record how a running trial ended; its files are written first.

        Raises:
            RunError: The files cannot be written; the row stays ``running``.
            ValueError: If the trial is not running.
        """
        with self._transaction() as connection:
            self._expect(connection, trial.number, TrialState.RUNNING)
        if trial.measurement is not None:
            self._write_files(trial)
        with self._transaction() as connection:
            connection.execute(update(TRIALS).where(TRIALS.c.number == trial.number).values(**columns_of_ending(trial)))
            if trial.measurement is not None:
                self._append(connection, trial.number, Split.VALIDATION, trial.measurement.values)
            return self._trials(connection, trial.number)[0]

    def refuse(
        self, *, candidate: Candidate, rung: Rung, origin: str, parameters: Mapping[str, int], reason: str
    ) -> Trial:
        """Add a ``refused`` trial, which was never started, under the next number."""
        return self._add(candidate, rung, origin, parameters, state=TrialState.REFUSED, reason=reason)

    def record_test(self, number: int, values: Mapping[str, float], resampled: Resampled | None = None) -> None:
        """Add the values measured on the test split to a complete trial, and its metric on resamples of that split.

        Raises:
            ValueError: If the trial is not complete.
        """
        with self._transaction() as connection:
            self._expect(connection, number, TrialState.COMPLETE)
            self._append(connection, number, Split.TEST, values)
            if resampled is not None:
                self._append(connection, number, RESAMPLES, document_of_resampled(resampled))

    def resamples(self) -> Mapping[int, Resampled]:
        """Return what :meth:`record_test` was given, by number of the trial; of several, the last."""
        with self._transaction() as connection:
            rows = select(MEASUREMENTS).where(MEASUREMENTS.c.kind == RESAMPLES).order_by(MEASUREMENTS.c.id)
            return {row["trial"]: resampled_of(row["measured"]) for row in connection.execute(rows).mappings()}

    def proxies(self) -> Sequence[Proxy]:
        """Return what was measured without training, in the order in which it was kept."""
        with self._transaction() as connection:
            rows = connection.execute(select(PROXIES).order_by(PROXIES.c.id)).mappings()
            return tuple(proxy_of_row(row) for row in rows)

    def proxies_so_far(self) -> tuple[int, float]:
        """Return how many proxies there are, and the seconds they took, without reading them."""
        with self._transaction() as connection:
            count, seconds = connection.execute(select(func.count(), func.sum(PROXIES.c.seconds))).one()
            return int(count), float(seconds or 0.0)

    def keep_proxy(self, proxy: Proxy) -> None:
        """Add what a policy measures without training."""
        with self._transaction() as connection:
            connection.execute(insert(PROXIES).values(**row_of_proxy(proxy)))

    def variants(self) -> Sequence[Variant]:
        """Return the variants beside the baseline's own, in the order in which they were kept."""
        with self._transaction() as connection:
            rows = connection.execute(select(VARIANTS).order_by(VARIANTS.c.id)).mappings()
            return tuple(variant_of_row(row) for row in rows)

    def keep_variant(self, variant: Variant) -> None:
        """Add a variant whose base model has been built."""
        with self._transaction() as connection:
            connection.execute(insert(VARIANTS).values(**row_of_variant(variant)))

    def seconds_searched(self) -> float:
        """Return the wall seconds spent searching so far, over all resumptions."""
        return float(self.fact(_SECONDS_SEARCHED) or 0.0)

    def add_seconds_searched(self, seconds: float) -> None:
        """Add to :meth:`seconds_searched`."""
        with self._transaction() as connection:
            before = connection.execute(select(RUN.c.value).where(RUN.c.key == _SECONDS_SEARCHED)).scalar_one_or_none()
            self._put(connection, _SECONDS_SEARCHED, float(before or 0.0) + seconds)

    def _add(
        self,
        candidate: Candidate,
        rung: Rung,
        origin: str,
        parameters: Mapping[str, int],
        *,
        state: TrialState,
        reason: str = "",
        started: float = 0.0,
    ) -> Trial:
        with self._transaction() as connection:
            last = connection.execute(select(func.max(TRIALS.c.number))).scalar_one_or_none()
            row = row_of_proposal(
                0 if last is None else last + 1,
                candidate=candidate,
                rung=rung,
                origin=origin,
                parameters=parameters,
                state=state,
                reason=reason,
                started=started,
            )
            connection.execute(insert(TRIALS).values(**row))
            return self._trials(connection, row["number"])[0]

    def _write_files(self, trial: Trial) -> None:
        measurement = trial.measurement
        if measurement is None:
            return
        folder = trial_folder(self._path.parent, trial.number)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        policy = policy_text(trial.candidate)
        fidelity = json.dumps(measurement.fidelity.to_document(), indent=1)
        papers = {"policy.yaml": policy.encode(), "fidelity.json": fidelity.encode()}
        for name, contents in {**measurement.artifacts, **papers}.items():
            write_atomically(folder / name, contents)

    @staticmethod
    def _trials(connection: Connection, number: int | None = None) -> tuple[Trial, ...]:
        """Return every trial, or only the one of a number."""
        rows = select(TRIALS).order_by(TRIALS.c.number)
        # resamples are long, and few who ask for trials want them
        measured = select(MEASUREMENTS).where(MEASUREMENTS.c.kind != RESAMPLES).order_by(MEASUREMENTS.c.id)
        if number is not None:
            rows = rows.where(TRIALS.c.number == number)
            measured = measured.where(MEASUREMENTS.c.trial == number)
        of_trial: dict[int, list[Any]] = {}
        for entry in connection.execute(measured).mappings():
            of_trial.setdefault(entry["trial"], []).append(entry)
        return tuple(trial_of(row, of_trial.get(row["number"], ())) for row in connection.execute(rows).mappings())

    @staticmethod
    def _expect(connection: Connection, number: int, state: TrialState) -> None:
        found = connection.execute(select(TRIALS.c.state).where(TRIALS.c.number == number)).scalar_one_or_none()
        if found != str(state):
            raise ValueError(f"trial {number} is {found or 'not there'}, not {state}")

    @staticmethod
    def _append(connection: Connection, number: int, kind: str, values: Mapping[str, Any]) -> None:
        connection.execute(
            insert(MEASUREMENTS).values(trial=number, kind=str(kind), measured=dict(values), time=time.time())
        )

    @staticmethod
    def _put(connection: Connection, key: str, value: Any) -> None:
        statement = insert(RUN).values(key=key, value=value)
        connection.execute(statement.on_conflict_do_update(index_elements=[RUN.c.key], set_={"value": value}))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Write, or read rows that are all of one moment."""
        with self._one_at_a_time, self._errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            if "full" in str(error.orig):
                raise RunError(no_space(self._path)) from error
            raise RunError(f"{self._path} cannot be used: {error.orig}.") from error
        except DatabaseError as error:
            raise RunError(f"{self._path} is damaged or no ledger: {error.orig}.") from error
