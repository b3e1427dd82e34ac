"""The page as text; test_report_browser.py opens it."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from exports.made import made
from pyro_posterior.errors import RequestError
from pyro_posterior.exports.report import report_html, write_report

NASTY = "</script><img src=x onerror=alert(1)>\"'&[[rows]]"


def small(**options):
    rng = np.random.default_rng(0)
    draws = {
        "scale": rng.gamma(2.0, size=200),
        NASTY: rng.normal(size=(200, 4)),
        "loads": rng.normal(size=(200, 50, 30)),
    }
    return made(draws, local=("loads",), num_obs=50, **options)


def pictures_of(page):
    text = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', page, re.S)
    return {picture["name"]: picture for picture in json.loads(text[1])}


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.cells = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes[key] for key in ("src", "href") if key in attributes]
        if "data-value" in attributes:
            self.cells.append((attributes.get("data-label", "Site"), attributes["data-value"]))


def test_the_file_is_written_and_is_the_same_again(tmp_path):
    path = write_report(small(keep=True), tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == report_html(small(keep=True))


def test_nothing_comes_from_the_network():
    page = report_html(small(keep=True))
    assert _Page(page).links == ["data:,"]
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_names_are_text_not_markup():
    page = report_html(small(), title=NASTY)
    assert "<img" not in page
    assert _Page(page).tags.count("script") == 2
    assert NASTY in pictures_of(page)
    assert ("Site", NASTY) in _Page(page).cells
    assert "draw &lt;b&gt;z&lt;/b&gt;" in page


def test_the_table_holds_numpys_figures():
    posterior = small(nonfinite={"loads": 3})
    cells = _Page(report_html(posterior)).cells
    start = cells.index(("Site", "loads"))
    row = dict(cells[start : start + 9])
    means = posterior["post_sample_means"]["loads"]
    width = posterior["post_sample_q95"]["loads"] - posterior["post_sample_q05"]["loads"]
    assert row["Shape"] == "1500"
    assert (row["Kind"], row["Scope"]) == ("latent", "local")
    assert float(row["Lowest mean"]) == means.min()
    assert float(row["Highest mean"]) == means.max()
    assert float(row["Widest interval"]) == width.max()
    assert (float(row["Zeros"]), row["Non-finite"]) == (0.0, "3")


def test_pictures_hold_the_numbers_to_four_digits():
    posterior = small(keep=True)
    found = pictures_of(report_html(posterior))
    assert [found[name]["kind"] for name in ("scale", NASTY, "loads")] == [
        "histogram",
        "forest",
        "heat map",
    ]
    assert sum(found["scale"]["counts"]) == 200
    np.testing.assert_allclose(
        found["loads"]["middle"], posterior["post_sample_means"]["loads"].ravel(), rtol=1e-3
    )
    np.testing.assert_allclose(found[NASTY]["low"], posterior["post_sample_q05"][NASTY], rtol=1e-3)


def test_settings_seed_time_and_versions_are_there():
    page = report_html(small())
    for text in ("<dt>seed</dt><dd>11</dd>", "<dd>1 min 15 s</dd>", "<dt>torch</dt><dd>0</dd>"):
        assert text in page


class _Lazy:
    """An array as a store gives it: read by slices, never held whole."""

    shape = (4_000, 3_000)
    largest = 0

    def __getitem__(self, index):
        rows = len(range(*index[0].indices(self.shape[0])))
        _Lazy.largest = max(_Lazy.largest, rows * self.shape[1])
        return np.broadcast_to(np.float32(2.0), (rows, self.shape[1]))


def test_a_large_site_is_read_in_pieces_and_makes_no_large_page():
    posterior = made({"z": np.zeros((1, 2, 2))})
    site = replace(posterior.plan.sites[0], shape=_Lazy.shape)
    posterior.plan = replace(posterior.plan, sites=(site,))
    for name in list(posterior):
        posterior[name] = {"z": _Lazy()}
    page = report_html(posterior)
    assert len(page) < 150_000
    assert 0 < _Lazy.largest <= 2_000_000
    assert "Down-sampled to 64 × 64 blocks" in pictures_of(page)["z"]["note"]


def test_many_sites_share_the_room():
    rng = np.random.default_rng(0)
    draws = {f"site{i}": rng.normal(size=(3, 100, 100)) for i in range(200)}
    assert len(report_html(made(draws))) < 5_000_000


def test_missing_values_are_null_and_infinite_ranges_dashes():
    draws = {"bad": np.full((5, 2, 50), np.nan), "part": np.ones((5, 60))}
    draws["part"][:, 7] = np.inf
    with np.errstate(invalid="ignore"):
        page = report_html(made(draws, nonfinite={"bad": 500}))
    found = pictures_of(page)
    assert found["bad"]["kind"] == "empty"
    assert found["part"]["middle"][7] is None
    assert 'class="number alarm"' in page


def test_summaries_of_other_shapes_are_said_not_drawn():
    posterior = made({"z": np.ones((5, 3))})
    for name in list(posterior):
        posterior[name] = {"z": np.float64(1.0)}
    assert "neither draws nor a summary" in pictures_of(report_html(posterior))["z"]["note"]


def test_chosen_and_unknown_sites():
    assert list(pictures_of(report_html(small(), sites=["loads"]))) == ["loads"]
    with pytest.raises(RequestError, match="no site 'q'"):
        report_html(small(), sites=["q"])
