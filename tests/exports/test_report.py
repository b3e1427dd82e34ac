"""The page as text; test_report_browser.py opens it."""

import inspect
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from exports.made import made
from pyro_posterior import Posterior
from pyro_posterior.errors import OutputError, RequestError
from pyro_posterior.exports.report import report_html, write_report

pytest.importorskip("vl_convert")
NASTY = "</script><img src=x onerror=alert(1)>\"'&[[rows]]"


def small(**options):
    rng = np.random.default_rng(0)
    draws = {
        "scale": rng.gamma(9.0, size=200),
        NASTY: rng.normal(size=(200, 4)) + 9.0,
        "loads": rng.normal(size=(200, 50, 30)),
    }
    return made(draws, local=("loads",), num_obs=50, **options)


def cards_of(page):
    text = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', page, re.S)
    return {card["name"]: card["charts"] for card in json.loads(text[1])}


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
    with pytest.raises(OutputError, match="is a folder"):
        write_report(small(), tmp_path)


def test_the_method_takes_what_the_function_takes(tmp_path):
    path = small().report(tmp_path / "r.html", answers=["Groups: a < b with probability 0.97."])
    assert "<strong>Groups:</strong> a &lt; b with probability 0.97." in path.read_text()
    method, function = (inspect.signature(x).parameters for x in (Posterior.report, write_report))
    assert list(method)[1:] == list(function)[1:]


def test_an_older_page_stays_whole_where_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("older")
    with pytest.raises(KeyError):
        small().report(path, sites=["nonsense"])
    assert path.read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_nothing_comes_from_the_network():
    page = report_html(small(keep=True))
    links = _Page(page).links
    assert [link for link in links if not link.startswith("#site-")] == ["data:,"]
    assert "default-src 'none'" in page


def test_names_are_text_not_markup():
    page = report_html(small(), title=NASTY)
    assert "img" not in _Page(page).tags
    assert _Page(page).tags.count("script") == 3
    assert NASTY in cards_of(page)
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
    assert row["Kind"] == "latentlocal"
    assert float(row["Lowest"]) == means.min()
    assert float(row["Highest"]) == means.max()
    assert float(row["Widest interval"]) == width.max()
    assert float(row["Relative width"]) == pytest.approx(width.mean() / np.abs(means).mean())
    assert (float(row["Zeros"]), row["Non-finite"]) == (0.0, "3")


def test_what_is_strange_then_wide_comes_first_and_is_said():
    rng = np.random.default_rng(1)
    draws = {
        "narrow": rng.normal(5.0, 0.1, size=(100, 3)),
        "wide": rng.normal(0.1, 5.0, size=(100, 3)),
        "fixed": np.ones((100, 2)),
        "broken": np.full((100, 2), np.nan),
        "empty": np.zeros((100, 4)),
    }
    page = report_html(made(draws, nonfinite={"broken": 200}))
    assert list(cards_of(page))[:2] == ["broken", "wide"]
    for words in (
        "<strong>Not finite:</strong> draws of broken (200)",
        "<strong>Wide:</strong> the intervals of wide are",
        "<strong>Without spread:</strong> all draws of fixed, empty are",
        "<strong>Mostly zero:</strong> more than half of the values of empty",
        "with 100 stratified draws, the error of a mean is at most about 10 %",
        "<strong>Convergence:</strong>",
    ):
        assert words in page


def test_pictures_hold_the_numbers_to_four_digits():
    posterior = small(keep=True)
    found = cards_of(report_html(posterior))
    (histogram,), (forest,), maps = found["scale"], found[NASTY], found["loads"]
    assert sum(histogram["columns"]["draws"]) == 200
    order = np.argsort(-posterior.means[NASTY])
    for field, values in (("mean", posterior.means), ("lower", posterior.q05)):
        np.testing.assert_allclose(forest["columns"][field], values[NASTY][order], rtol=1e-3)
    assert forest["columns"]["name"]["names"] == [str(place) for place in order]
    assert [each["title"] for each in maps] == ["mean", "interval width"]
    columns = maps[0]["columns"]
    names = [[int(n) for n in columns[f"{axis}_name"]["names"]] for axis in ("row", "column")]
    table = np.array(columns["value"]).reshape(50, 30)
    expected = posterior.means["loads"][names[0]][:, names[1]]
    np.testing.assert_allclose(table, expected, rtol=1e-3)
    assert sorted(names[0]) == list(range(50))


@pytest.mark.parametrize("middle", ["sd", "spread"])
def test_a_summary_is_called_what_it_is(middle):
    posterior = small()
    posterior.clear()
    posterior[f"post_sample_{middle}"] = small()["post_sample_stds"]
    found = cards_of(report_html(posterior))
    assert [chart["title"] for chart in found["loads"]] == [middle]
    assert middle in found["scale"][0]["columns"]
    assert "mean" not in json.dumps(found)


def test_labels_stand_in_the_pictures():
    posterior = small(
        coords={"obs": [f"cell {i}" for i in range(50)], "loads_dim_1": range(100, 130)}
    )
    chart = cards_of(report_html(posterior))["loads"][0]
    assert {f"cell {i}" for i in range(50)} == set(chart["columns"]["row_name"]["names"])
    assert set(map(str, range(100, 130))) == set(chart["columns"]["column_name"]["names"])


def test_a_map_where_places_are_known():
    places = np.random.default_rng(2).uniform(size=(50, 2))
    posterior = small(coords={"spatial x": places[:, 0], "spatial y": places[:, 1]})
    for page in (report_html(posterior), report_html(small(), spatial=places)):
        chart = cards_of(page)["loads"][0]
        assert chart["title"] == "map of mean"
        np.testing.assert_allclose(chart["columns"]["x"], places[:, 0], rtol=1e-3)
        spread = np.argsort(-posterior.means["loads"].var(axis=0))
        np.testing.assert_allclose(
            chart["columns"]["value0"], posterior.means["loads"][:, spread[0]], rtol=1e-3
        )
        assert chart["note"] == "The 12 of 30 columns that vary most."
    with pytest.raises(RequestError, match="give two numbers for each of the 50 observations"):
        report_html(small(), spatial=places[:3])


def test_specifications_are_vega_lites_own():
    import vl_convert

    places = np.random.default_rng(2).uniform(size=(50, 2))
    for charts in cards_of(report_html(small(keep=True), spatial=places)).values():
        for chart in charts:
            compiled = vl_convert.vegalite_to_vega(
                {**chart["spec"], "data": {"values": []}, "width": 300}
            )
            assert compiled["marks"]


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


def data_length(page):
    return len(json.dumps(cards_of(page)))


def test_a_large_site_is_read_in_pieces_and_makes_no_large_page():
    posterior = made({"z": np.zeros((1, 2, 2))})
    site = replace(posterior.plan.sites[0], shape=_Lazy.shape)
    posterior.plan = replace(posterior.plan, sites=(site,))
    for name in list(posterior):
        posterior[name] = {"z": _Lazy()}
    page = report_html(posterior)
    assert data_length(page) < 300_000
    assert 0 < _Lazy.largest <= 2_000_000
    assert "Down-sampled to 64 × 64 blocks" in cards_of(page)["z"][0]["note"]


def test_many_sites_share_the_room():
    rng = np.random.default_rng(0)
    draws = {f"site{i}": rng.normal(size=(3, 60, 60)) for i in range(100)}
    assert data_length(report_html(made(draws))) < 12_000_000


def test_missing_values_are_null_and_infinite_ranges_dashes():
    draws = {"bad": np.full((5, 2, 50), np.nan), "part": np.ones((5, 60))}
    draws["part"][:, 7] = np.inf
    with np.errstate(invalid="ignore"):
        page = report_html(made(draws, nonfinite={"bad": 500}))
    found = cards_of(page)
    assert found["bad"] == []
    assert "No finite values." in page
    assert found["part"][0]["columns"]["mean"].count(None) == 1
    assert 'class="number alarm"' in page


def test_summaries_of_other_shapes_are_said_not_drawn():
    posterior = made({"z": np.ones((5, 3))})
    for name in list(posterior):
        posterior[name] = {"z": np.float64(1.0)}
    page = report_html(posterior)
    assert "neither draws nor a summary" in page
    assert cards_of(page)["z"] == []


@pytest.mark.parametrize("draws", ["stratified", "independent"])
def test_the_precision_is_that_of_the_draws_there_are(draws):
    posterior = small()
    posterior.plan = replace(posterior.plan, draws=draws)
    page = report_html(posterior)
    assert ("the error of a mean is at most about" in page) == (draws == "stratified")
    assert f"200 {draws} draws" in page
    assert "7.1 %" in page
