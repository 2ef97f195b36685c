"""``paretune diff``: compare two policies."""

import click

from paretune.experiments.commands.options import format_option, print_json


@click.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@format_option
def command(first: str, second: str, format_: str) -> None:
    """Show what differs between the policies A and B, and what that changed.

    Each is a policy.yaml, an exported folder, or RUN:TRIAL, such as runs/digits:12 or runs/digits:knee.
    """
    from paretune.experiments.explaining.two_policies import compare_policies, comparison_document
    from paretune.experiments.terminal.comparison_text import comparison_lines, differences_table
    from paretune.experiments.terminal.tables import print_table

    comparison = compare_policies(first, second)
    if format_ == "json":
        print_json(comparison_document(comparison))
        return
    if comparison.layers:
        print_table(differences_table(comparison))
    for line in comparison_lines(comparison):
        click.echo(line)
