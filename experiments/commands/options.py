"""Options and arguments that several commands share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import read_quantity

experiment_argument = click.argument("experiment", type=click.Path(path_type=Path), metavar="EXPERIMENT.yaml")
run_argument = click.argument("run", metavar="RUN")


def format_option_with(*more: str, help_: str = "How to print.") -> Callable[[Any], Any]:
    """Return the option ``--format table|json``, with more formats where a command has them."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "json", *more]),
        default="table",
        show_default=True,
        help=help_,
    )


format_option = format_option_with()
trust_option = click.option("--trust-model", is_flag=True, help="Let code inside the model file run.")


def trial_option(*more: str) -> Callable[[Any], Any]:
    """Return the option ``--trial``, with more words where a command has them."""
    return click.option(
        "--trial",
        default="knee",
        show_default=True,
        metavar="|".join(("N", "knee", "smallest", "most-accurate", "fastest", *more)),
        help="Which trial: any by its number, or one of the front.",
    )


def read_bytes(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read an option such as ``60kB`` (60,000), as click's callback."""
    try:
        return None if value is None else read_quantity(value)
    except ConfigurationError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def print_json(document: Any) -> None:
    """Print plain data on stdout."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def say(message: str) -> None:
    """Print one line about what is going on, on stderr."""
    click.echo(message, err=True)
