"""``paretune init``: write an experiment file."""

from pathlib import Path

import click

from paretune.experiments.commands.options import say


@click.command("init")
@click.argument("model")
@click.option("--data", required=True, help="A .npz file, folder of .npy or images, module:function, or keras:NAME.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("experiment.yaml"), show_default=True)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(model: str, data: str, output: Path, force: bool) -> None:
    """Write an experiment file for MODEL that runs as it is.

    MODEL is a .keras or .h5 file, a SavedModel folder, or module:function.
    """
    from paretune.experiments.config.init_file import write_experiment

    written = write_experiment(output, model=model, data=data, force=force)
    click.echo(str(written))
    say(f"Next: paretune doctor {written}\n      paretune search {written}")
