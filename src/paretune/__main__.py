"""Run the command line as ``python -m paretune``."""

from paretune.experiments.cli import main

if __name__ == "__main__":
    main()
