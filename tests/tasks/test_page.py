"""MLflow's own page, served over a search's database, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.tracker import Tracker
from tests.browser.chromium import CHROMIUM, browse
from tests.tasks.server import serving
from tests.tasks.test_tracking import fallen, runs_of, trained

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Tracker]]:
    tracker = Tracker(tmp_path / "mlflow", "k1", "search k1", {"seed": "0"})
    tracker.write([trained(), fallen()])
    with serving(tracker.uri, tmp_path) as url:
        yield url, tracker


def dom_of(url: str, tmp_path: Path) -> str:
    flags = ("--virtual-time-budget=30000", "--window-size=1600,900", "--dump-dom")
    return browse(url, tmp_path / "profile", *flags)


def test_the_page_shows_the_search_and_every_candidate(served: tuple[str, Tracker], tmp_path: Path) -> None:
    url, tracker = served
    runs = f"{url}/#/experiments/{tracker._experiment}/runs"
    page = dom_of(runs, tmp_path)
    assert "search k1" in page
    assert "matching runs" in page and "3</" in page.split("matching runs")[0][-200:]
    by_key = {key: run.info.run_id for key, run in runs_of(tracker).items()}
    for record, telling in ((trained(), "validation_accuracy"), (fallen(), "shape")):
        page = dom_of(f"{runs}/{by_key[record.trial_key]}", tmp_path)
        assert record.name in page and telling in page
