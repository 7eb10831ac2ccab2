import io

import pytest
from rich.console import Console

from darkcovid.report.tables import comparison_tables


def arm(accuracy):
    figures = {"image_size": [160, 160], "parameters": 1_166_965, "images": {"train": 896, "valid": 228}, "epochs": 60}
    cost = {"train_seconds": 300.0, "epoch_seconds": 5.0, "train_images_per_second": 180.0, "speedup": 2.0}
    scores = {"accuracy": accuracy, "balanced_accuracy": accuracy, "untrusted_lungs": 0, "bad_images": 0}
    return figures | cost | scores | {"peak_host_bytes": 10**9, "peak_device_bytes": 0}


@pytest.mark.parametrize(("arms", "width", "tables"), [(3, 80, 1), (11, 80, 3), (11, 400, 1), (2, 20, 2)])
def test_every_figure_is_shown_in_full_however_many_arms(arms, width, tables):
    comparison = {"arms": {f"experiment{number}": arm(0.5 + number / 100) for number in range(arms)}}
    drawn = comparison_tables(comparison, width)
    assert len(drawn) == tables
    console = Console(width=max(width, 60), file=io.StringIO())
    console.print(*drawn)
    text = console.file.getvalue()
    assert "…" not in text
    assert all(f"experiment{number}" in text and f"{0.5 + number / 100:.3f}" in text for number in range(arms))
