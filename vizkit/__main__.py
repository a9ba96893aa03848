"""Run the command line with ``python -m vizkit``."""

from vizkit.cli import main

main()
