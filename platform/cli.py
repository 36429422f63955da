"""The command `platform`."""


def main() -> None:
    raise SystemExit(0)
