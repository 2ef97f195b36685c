"""The command line: finds a command, runs it, and turns what went wrong into one line and an exit code."""

import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

import click

from paretune.experiments.stopping import Interrupted
from paretune.spaces.errors import ParetuneError
from paretune.spaces.suggest import nearest

#: Every command with its line of help, so that ``paretune --help`` imports none of them.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "init": "Write an experiment file for your model.",
        "doctor": "Show which knobs apply to each layer, and why not.",
        "plan": "Show the size of the space, reachable sizes and what a trial costs.",
        "profile": "Show what each decision about each layer costs, untrained.",
        "search": "Run or resume a search.",
        "front": "Show the front of a run; re-ask it with other bounds.",
        "report": "Write a run as one HTML page.",
        "explain": "Show what each layer of a trial costs and saves.",
        "diff": "Compare two policies, and what they measure.",
        "reproduce": "Train trials again, and compare with the first time.",
        "export": "Write one trial of a run as a verified .tflite with its papers.",
        "apply": "Train and export one policy, without a search.",
        "ui": "Open MLflow's page on this machine.",
        "sync": "Rebuild a run's MLflow record from its ledger.",
    }
)

DONE, MENDABLE, USAGE, INTERRUPTED = 0, 1, 2, 130


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"paretune.experiments.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or name the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}'.{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from :data:`COMMANDS` alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from paretune import __version__

        click.echo(f"paretune {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show it.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; so does PARETUNE_DEBUG=1.")
def paretune(debug: bool) -> None:
    """Search for the best way to compress a trained Keras model."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 something the user can mend, 2 usage, 130 interrupted with everything kept.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends a command as Ctrl-C does, tidying up on the way
    try:
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        code = DONE
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code.

    Raises:
        BrokenPipeError: If whoever reads the output has stopped.
    """
    try:
        # not `paretune.main`, which makes exit code 1 of a broken pipe
        with paretune.make_context("paretune", list(arguments)) as context:
            paretune.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except Interrupted as interrupted:
        return _interrupted(interrupted)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(Interrupted())
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ParetuneError as error:
        if _wants_traceback(arguments):
            traceback.print_exc()
        for line in _lines(error):
            click.echo(f"error: {line}", err=True)
        return MENDABLE
    return DONE


def _interrupted(interrupted: Interrupted) -> int:
    goes_on = f" Go on with: {interrupted.resume}" if interrupted.resume else ""
    click.echo(f"interrupted: everything finished is kept.{goes_on}", err=True)
    return INTERRUPTED


def _wants_traceback(arguments: Sequence[str]) -> bool:
    return "--debug" in arguments or os.environ.get("PARETUNE_DEBUG", "0").lower() not in ("", "0", "false", "no")


def _lines(error: ParetuneError) -> list[str]:
    """Return one line per problem: only an experiment file has several at once."""
    return [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]


def _discard_output() -> None:
    # The interpreter flushes stdout once more at exit; without this it would complain about the pipe there.
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)
