"""Read from a run's folder what MLflow should show of it."""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paretune.experiments.config.experiment import Experiment, Tracking
from paretune.experiments.config.present import present_experiment
from paretune.experiments.profiles.keeping import keep_profile
from paretune.experiments.report.document import report_document
from paretune.experiments.report.page import report_page
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import Run, open_run
from paretune.experiments.terminal.wording import budget_text
from paretune.experiments.tracking.content import RunContent
from paretune.experiments.tracking.tracker import TrackingStore, tracking_store


def read_content(folder: RunFolder) -> tuple[RunContent, TrackingStore]:
    """Return what MLflow should show of a run, and where; the files of its profile are there then, if it has one.

    Raises:
        RunError: If the run cannot be read, or the profile cannot be written.
    """
    with open_run(folder) as run:
        store = tracking_store(folder.path, tracking_of(run) or Tracking())
        return replace(content_of(run), profile=keep_profile(run)), store


def read_report(folder: RunFolder) -> str:
    """Return the page of a run.

    Raises:
        RunError: If the run cannot be read.
    """
    with open_run(folder) as run:
        return report_page(report_document(run))


def tracking_of(run: Run) -> Tracking | None:
    """Return where MLflow keeps a run's record: as it was searched, else as its experiment file says now."""
    return run.experiment.tracking or present_experiment(run.experiment).tracking


def content_of(run: Run) -> RunContent:
    """Return what MLflow should show of an open run, apart from its profile; trials and front are of one moment."""
    trials = tuple(run.trials())
    facts, experiment = run.facts, run.experiment
    proxies, proxy_seconds = run.ledger.proxies_so_far()
    return RunContent(
        run_id=facts.run_id,
        name=run.folder.path.absolute().name,
        metric=next(iter(facts.description.objectives)),
        trials=trials,
        front=run.front(trials),
        hypervolumes=tuple(run.hypervolumes(trials)),
        proxies=proxies,
        proxy_seconds=proxy_seconds,
        parameters={
            "experiment": experiment.name,
            "model": experiment.model,
            "data": experiment.data,
            "objectives": ", ".join(f"{item.name} ({item.direction})" for item in facts.objectives),
            "constraints": ", ".join(str(constraint) for constraint in facts.constraints) or "none",
            "sampler": experiment.sampler,
            "seed": str(experiment.seed),
            "threads": str(facts.threads),
            "budget_in_file": budget_text(experiment.budget),
        },
        tags={
            "run_folder": str(run.folder.path.absolute()),
            "mlflow.source.name": "paretune search",
            "mlflow.source.type": "LOCAL",
            **{f"machine.{name}": _plain(value) for name, value in facts.description.machine.items()},
            "version.paretune": version("paretune"),
            **{f"version.{package}": found for package, found in _versions(experiment).items()},
        },
    )


def session_tags(folder: Path) -> dict[str, str]:
    """Return what only the process of a search knows: the system, Python, and the state of git in a folder."""
    return {
        "machine.system": f"{platform.system()} {platform.release()}",
        "version.python": platform.python_version(),
        **git_tags(folder),
    }


def git_tags(folder: Path) -> dict[str, str]:
    """Return the commit checked out in a folder, and whether files differ from it; nothing outside a repository."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": branch or "",
        "git.changed": str(bool(changed)).lower(),
    }


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _versions(experiment: Experiment) -> Mapping[str, str]:
    return experiment.settings_for_evaluator(threads=1).versions()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
