"""What is shown of work while it runs."""

from dataclasses import dataclass


@dataclass
class Line:
    """One line of the view: a run, or a trial with its runs."""

    label: str
    runs: tuple[str, ...]
    text: str = ""  # what distinguishes it, for example its parameters
    state: str | None = None  # overrides the state of its runs
