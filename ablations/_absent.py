"""Tables and figures of the papers that no suite stands for, each with the reason.

Named as suites are. `tests/ablations/test_ablations.py` holds that every table and figure of the
papers is here or a suite, and none is both.
"""

from collections.abc import Mapping

_DRAWING = "a drawing of the method, no experiment"
_SIZES = "the sizes of the data sets, no experiment: `platform datasets`"

ABSENT: Mapping[str, str] = {
    "cdc-table3": _SIZES,
    "cdc-fig2": _DRAWING,
    "cdc-fig6": "two regions of four samples as an example, no experiment",
    "cdc-fig10": "wrong labels among the selected samples of each class: training never sees "
    "labels, so that it cannot count them; the runs are those of cdc-table9",
    "dpac-table1": _SIZES,
    "ruc-table4": "the transformations of RandAugment, no experiment",
    "ruc-fig1": _DRAWING,
    "ruc-fig2": _DRAWING,
    "ruc-fig6": "single pictures; a report shows the surest and most doubtful ones of each cluster",
    "ruc-fig7": "confusion matrices, which are not drawn here; the runs are those of ruc-table2",
    "ruc-fig8": "class activation maps, which are not drawn here",
    "ruc-fig13": "single pictures with class activation maps, which are not drawn here",
}
