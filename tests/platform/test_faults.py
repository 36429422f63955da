"""The README's table of faults is what the tests say of themselves."""

from support.faults import FAULTS, ROOT, marked, table


def test_the_table_in_the_readme_is_made_from_the_markers() -> None:
    assert table() in (ROOT / "README.md").read_text(), "python -m support.faults prints it"


def test_every_fault_has_a_test_and_every_marker_a_fault() -> None:
    assert set(marked()) == set(FAULTS)
    assert set(range(1, 67)) <= set(FAULTS)  # all rows of the fault matrix
