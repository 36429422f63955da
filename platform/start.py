"""Entry point of `platform`: from a command's first moment to its exit code."""

import contextlib
import errno
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, TextIO

from deep_clustering.platform import interruption, supervision

if TYPE_CHECKING:
    from typing_extensions import Buffer


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command, by default the process's own; it ends in an exit code of `errors.py`."""
    interruption.at_once()  # before the imports, which take long
    _settle_streams()
    try:
        os.getcwd()
    except FileNotFoundError:  # torch cannot even be imported then
        print(
            "error: the current folder has been deleted; change to one that is there.",
            file=sys.stderr,
        )
        sys.exit(2)
    if arguments is None:
        supervision.below(_complain)
    from deep_clustering.platform.run._ray import leave

    leave(_carry_out(sys.argv[1:] if arguments is None else arguments))


class _Stream(io.RawIOBase):
    """A stream of the process that goes on without whoever has stopped reading it.

    `platform results | head -1` has shown what was asked for, and `platform train ... | head` goes
    on with its work: both end as if all had been read. So does one whose terminal was closed.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._terminal = os.isatty(number)

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return self._terminal

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer") -> int:
        """As a file does; what nobody reads is thrown away, and so is all that follows."""
        try:
            return os.write(self._number, data)
        except OSError as error:
            closed = self._terminal and error.errno == errno.EIO
            if not closed and error.errno != errno.EPIPE:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._number)
            os.close(nowhere)
            return os.write(self._number, data)


def _settle_streams() -> None:
    """Make standard output and error such streams; a process without them gets empty ones.

    Otherwise the first files that it opens take the numbers of the missing ones.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is sys.__stdout__:  # not where a test or a notebook has put its own
        sys.stdout = _settled(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _settled(sys.stderr, 2)


def _settled(given: object, number: int) -> TextIO:
    """The stream of this number, as Python has opened it; None where it could not."""
    binary = io.BufferedWriter(_Stream(number))
    if not isinstance(given, io.TextIOWrapper):
        return io.TextIOWrapper(binary)
    return io.TextIOWrapper(
        binary,
        encoding=given.encoding,
        errors=given.errors,
        line_buffering=given.line_buffering or given.write_through,
    )


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
        _complain(f"\n{error}")
        return error.exit_code
    except PlatformError as error:
        _complain("\n".join(_sentences(str(error))))
        return error.exit_code
    except click.ClickException as error:
        with _as_far_as_it_goes():
            error.show()
        return error.exit_code
    except MemoryError as error:
        _complain(f"error: there is not enough memory ({error or 'none is left'}).")
        return EnvironmentProblem.exit_code
    except OSError as error:
        if error.filename is not None:
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (what is left is not tried again)
        _complain(f"error: what the command says cannot be written ({error.strerror}).")
        return StorageError.exit_code
    except (KeyboardInterrupt, click.Abort):  # before there was anything to put in order
        interruption.no_more()
        _complain(interruption.told(arguments).removesuffix("\n"))
        return 130


def _sentences(text: str) -> list[str]:
    """The lines of an error; on a terminal they end between words."""
    mark = "error: "
    first, *others = text.splitlines() or [""]
    lines = [mark + first, *(" " * len(mark) + line for line in others)]
    if not sys.stderr.isatty():
        return lines
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    parts: list[str] = []
    for line in lines:
        indent = max(len(mark), len(line) - len(line.lstrip()))
        parts += textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            expand_tabs=False,
            replace_whitespace=False,
        ) or [line]
    return parts


def _complain(text: str) -> None:
    with _as_far_as_it_goes():
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _as_far_as_it_goes() -> Iterator[None]:
    """Complaints that cannot be written change nothing, the exit code included."""
    try:
        yield
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (what is left is not tried again)


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
