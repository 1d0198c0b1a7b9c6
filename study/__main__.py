"""Runs the command line as ``python -m study``."""

from study.cli.app import main

if __name__ == "__main__":
    main()
