"""Entry point of `platform`: from a command's first moment to its exit code."""

import contextlib
import os
import sys
import warnings
from typing import NoReturn, TextIO

from deep_clustering.platform import interruption


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command, by default the process's own; it ends in an exit code of `errors.py`."""
    interruption.at_once()  # before the imports, which take long
    try:
        os.getcwd()
    except FileNotFoundError:  # torch cannot even be imported then
        print(
            "error: the current folder has been deleted; change to one that is there.",
            file=sys.stderr,
        )
        sys.exit(2)
    from deep_clustering.platform.run._ray import leave

    leave(_carry_out(sys.argv[1:] if arguments is None else arguments))


def _carry_out(arguments: list[str]) -> int:
    """The exit code; why it is not 0 has been said."""
    import click

    from deep_clustering.platform.cli import cli
    from deep_clustering.platform.errors import (
        EnvironmentProblem,
        Interrupted,
        PlatformError,
        StorageError,
    )

    _tell_warnings_once()
    interruption.by_exception()
    try:
        given = cli.main(arguments, prog_name="platform", standalone_mode=False)
        sys.stdout.flush()
        return given if isinstance(given, int) else 0
    except Interrupted as error:
        interruption.no_more()
        click.echo(f"\n{error}", err=True)
        return error.exit_code
    except PlatformError as error:
        lines = str(error).splitlines()
        click.echo("\n".join([f"error: {lines[0]}", *(f"       {x}" for x in lines[1:])]), err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except MemoryError as error:
        click.echo(f"error: there is not enough memory ({error or 'none is left'}).", err=True)
        return EnvironmentProblem.exit_code
    except OSError as error:
        if error.filename is not None:
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (what is left is not tried again)
        _complain(f"error: what the command says cannot be written ({error.strerror}).")
        return StorageError.exit_code
    except (KeyboardInterrupt, click.Abort):  # before there was anything to put in order
        interruption.no_more()
        click.echo(interruption.told(arguments), err=True, nl=False)
        return 130


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # this may be full too
        print(text, file=sys.stderr)


def _tell_warnings_once() -> None:
    """Each warning of the platform is one line for the user, without its place in the code."""
    told: set[str] = set()
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not category.__module__.startswith("deep_clustering."):
            usual(message, category, filename, lineno, file, line)
        elif str(message) not in told:
            told.add(str(message))
            print(f"warning: {message}", file=sys.stderr)

    warnings.showwarning = show
    warnings.filterwarnings("always", module=r"deep_clustering\.")


if __name__ == "__main__":
    main()
