"""The report page in a headless Chromium: pictures, keys, sorting, files, both themes, all widths."""

import csv
import shutil

import numpy as np
import pytest

from exports.made import made
from pyro_posterior.exports.report import write_report

webdriver = pytest.importorskip("selenium.webdriver")
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
pytest.importorskip("vl_convert")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs chromium and chromedriver (Debian: chromium-driver)",
    ),
]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)
NASTY = '<img src=x onerror="window.broken=1">'
NAMED = [NASTY, "=SUM(A1)", *(f"factor {place}" for place in range(28))]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def posterior():
    rng = np.random.default_rng(0)
    draws = {
        "scale": rng.gamma(2.0, size=300),
        "weights": rng.normal(size=(300, 12)) + np.linspace(-3, 3, 12),
        "curve": rng.normal(size=(300, 2500)) + np.sin(np.linspace(0, 9, 2500)),
        "loads": rng.gamma(1.0, size=(300, 100, 30)) * rng.gamma(1.0, size=(100, 30)),
        NASTY: rng.normal(size=(300, 2)),
        "bad": np.full((300, 3), np.nan),
    }
    draws["loads"][:, :, 0] *= 9  # the column of the strangest name varies most
    places = rng.uniform(size=(2, 100))
    coords = {"loads_dim_1": NAMED, "spatial x": places[0], "spatial y": places[1]}
    return made(
        draws, local=("loads",), num_obs=100, keep=True, nonfinite={"bad": 900}, coords=coords
    )


@pytest.fixture(scope="module")
def loads(posterior):
    return posterior.means["loads"]


@pytest.fixture(scope="module")
def report(posterior, tmp_path_factory):
    return write_report(posterior, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def page(browser, report):
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.broken") is None
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []


def find(page, css):
    return page.find_elements("css selector", css)


def shown(page):
    return [link.text for link in find(page, "tbody a") if link.is_displayed()]


def click_head(page, name):
    for heading in find(page, "thead th"):
        if heading.text.startswith(name):
            heading.find_element("css selector", "button").click()
            return heading.get_attribute("aria-sort")
    raise AssertionError(name)


def card_of(page, name):
    """The card of a site, scrolled to, its charts drawn."""
    card = next(card for card in find(page, ".card") if card.get_attribute("aria-label") == name)
    page.execute_script("arguments[0].scrollIntoView()", card)
    WebDriverWait(page, 30).until(
        lambda _: all(
            place.get_attribute("data-drawn")
            for place in card.find_elements("css selector", ".drawn")
        )
    )
    return card


def button_of(card, start):
    return next(
        button
        for button in card.find_elements("css selector", "button")
        if button.get_attribute("aria-label").startswith(start)
    )


def colours_of(page, canvas):
    """Size of a canvas and number of its colours."""
    return page.execute_script(
        """
        const [canvas] = arguments, context = canvas.getContext('2d');
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const seen = new Set();
        for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 4).join());
        return seen.size;
        """,
        canvas,
    )


def painted(page, canvas):
    return page.execute_script("return arguments[0].toDataURL()", canvas)


def press(page, button, place):
    """Press a button by the keyboard, and wait until the picture is another one."""
    canvas = place.find_element("css selector", "canvas")
    before = painted(page, canvas)
    button.send_keys("\ue007")  # Enter
    WebDriverWait(page, 20).until(
        lambda _: painted(page, place.find_element("css selector", "canvas")) != before
    )


def test_the_strangest_then_the_widest_come_first_and_search_finds(page):
    order = [card.get_attribute("aria-label") for card in find(page, ".card")]
    assert order[:2] == ["bad", NASTY]
    assert shown(page) == order
    page.find_element("id", "search").send_keys("WEIGHT")
    assert shown(page) == ["weights"]
    assert [c.get_attribute("aria-label") for c in find(page, ".card") if c.is_displayed()] == [
        "weights"
    ]
    assert page.find_element("id", "count").text == "1 of 6 sites"
    page.find_element("id", "search").send_keys(" nothing like it")
    assert shown(page) == []
    assert page.find_element("id", "nothing").is_displayed()


def test_sort_by_numbers_and_by_names(page):
    assert click_head(page, "Shape") == "descending"
    assert shown(page) == ["loads", "curve", "weights", "bad", NASTY, "scale"]
    assert click_head(page, "Shape") == "ascending"
    assert shown(page) == ["scale", NASTY, "bad", "weights", "curve", "loads"]
    assert click_head(page, "Site") == "ascending"
    assert shown(page) == [NASTY, "bad", "curve", "loads", "scale", "weights"]
    click_head(page, "Lowest")
    assert shown(page)[-1] == "bad"  # unknown ones last in both directions
    click_head(page, "Lowest")
    assert shown(page)[-1] == "bad"


def test_every_site_has_its_pictures_without_a_click(page):
    for name, number in {
        "scale": 1,
        "weights": 1,
        "curve": 1,
        "loads": 3,
        NASTY: 1,
        "bad": 0,
    }.items():
        canvases = card_of(page, name).find_elements("css selector", "canvas")
        assert len(canvases) == number, name
        for canvas in canvases:
            assert colours_of(page, canvas) > (100 if name == "loads" else 10), name
    assert "No finite values." in card_of(page, "bad").text
    assert "600 of 2,500 values" in card_of(page, "curve").text


def test_zooming_by_the_keyboard_and_back(page):
    card = card_of(page, "loads")
    for place in card.find_elements("css selector", ".drawn"):
        figure = place.find_element("xpath", "..")
        whole = painted(page, place.find_element("css selector", "canvas"))
        press(page, button_of(figure, "Zoom into"), place)
        press(page, button_of(figure, "Show all"), place)
        assert painted(page, place.find_element("css selector", "canvas")) == whole


def test_the_map_shows_one_column_at_a_time(page):
    card = card_of(page, "loads")
    place = card.find_element("css selector", ".drawn")
    select = place.find_element("css selector", "select")
    names = [option.text for option in select.find_elements("css selector", "option")]
    assert len(names) == 12
    assert NASTY in names
    before = painted(page, place.find_element("css selector", "canvas"))
    select.send_keys("\ue015")  # down
    WebDriverWait(page, 20).until(
        lambda _: painted(page, place.find_element("css selector", "canvas")) != before
    )


def test_pointing_at_a_cell_names_it(page):
    card = card_of(page, "loads")
    canvas = card.find_elements("css selector", "canvas")[1]
    webdriver.ActionChains(page).move_to_element(canvas).perform()
    tip = WebDriverWait(page, 20).until(
        lambda _: page.find_element("css selector", "#vg-tooltip-element.visible")
    )
    assert "row" in tip.text
    assert "mean" in tip.text


def test_numbers_and_pictures_can_be_saved(page, tmp_path, loads):
    page.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    card = card_of(page, "loads")
    figure = card.find_elements("css selector", "figure")[1]
    button_of(figure, "Save the numbers").click()
    button_of(figure, "Save the picture").click()
    saved = (tmp_path / "loads_mean.csv", tmp_path / "loads_mean.png")
    WebDriverWait(page, 30).until(lambda _: all(file.exists() for file in saved))
    with saved[0].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100 * 30
    for row in rows[::97]:
        column = NAMED.index(row["column_name"].removeprefix("'"))
        assert float(row["value"]) == pytest.approx(loads[int(row["row_name"]), column], rel=1e-3)
    formula = next(row for row in rows if "SUM" in row["column_name"])
    assert formula["column_name"] == "'=SUM(A1)"
    assert saved[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "phone"), [(390, True), (500, True), (1400, False)])
def test_fits_the_screen_in_both_themes(page, tmp_path, theme, width, phone):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": phone},
    )
    page.refresh()
    for name in ("scale", "curve", "loads"):
        card_of(page, name)
    inner, outer = page.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inner <= outer
    background = "return getComputedStyle(document.body).backgroundColor"
    assert is_dark(page.execute_script(background)) == (theme == "dark")
    picture = tmp_path / "page.png"
    assert page.save_screenshot(str(picture))
    assert picture.stat().st_size > 5_000
    page.find_element("id", "theme").send_keys("\ue007")
    assert is_dark(page.execute_script(background)) == (theme == "light")


def is_dark(colour):
    return sum(map(int, colour[4:-1].split(","))) < 150
