"""The ``domainkit`` command. Wires the groups of commands; turns every known error into one line and an exit code."""

from __future__ import annotations

import sys

import typer

from core.errors import DomainkitError
from ui.commands import adapters, answering, converting, maintenance, measuring, packing, running, serving, training, verticals

app = typer.Typer(
    name="domainkit",
    help="Domain assistants that answer from their own documents and show where every sentence comes from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (adapters, answering, maintenance, verticals, measuring, training, serving, running, packing, converting):
    group.register(app)


def main() -> None:
    """Run the command line.

    Exit codes: 0 success, 1 a domain-level "no", 2 bad usage or bad input.
    """
    try:
        app()
    except DomainkitError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except SystemExit as done:
        if done.code == 130:  # what Typer makes of Ctrl+C
            sys.stderr.write("interrupted; what was finished is kept, run the same command again to go on\n")
        raise
    except OSError as error:
        sys.stderr.write(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}; check the disk and permissions\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
