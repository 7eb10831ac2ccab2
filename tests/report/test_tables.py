import io

import pytest
from rich.console import Console

from darkcovid.report.tables import comparison_tables

from ..arms import ARM, comparison_of


@pytest.mark.parametrize(("arms", "width", "tables"), [(3, 80, 1), (11, 80, 3), (11, 400, 1), (2, 20, 2)])
def test_every_figure_is_shown_in_full_however_many_arms(arms, width, tables):
    comparison = comparison_of({f"experiment{number}": ARM | {"accuracy": 0.5 + number / 100} for number in range(arms)})
    drawn = comparison_tables(comparison, width)
    assert len(drawn) == tables
    console = Console(width=max(width, 60), file=io.StringIO())
    console.print(*drawn)
    text = console.file.getvalue()
    assert "…" not in text
    assert all(f"experiment{number}" in text and f"{0.5 + number / 100:.3f}" in text for number in range(arms))
