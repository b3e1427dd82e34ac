"""The report page in a headless Chromium: clicks, sorting, search, both themes, phone and desktop."""

import shutil

import numpy as np
import pytest

from exports.made import made
from pyro_posterior.exports.report import write_report

webdriver = pytest.importorskip("selenium.webdriver")
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
NAMES = ["scale", "weights", "curve", "loads", NASTY, "bad"]


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
def report(tmp_path_factory):
    rng = np.random.default_rng(0)
    draws = {
        "scale": rng.gamma(2.0, size=300),
        "weights": rng.normal(size=(300, 12)) + np.linspace(-3, 3, 12),
        "curve": rng.normal(size=(300, 2500)) + np.sin(np.linspace(0, 9, 2500)),
        "loads": rng.gamma(1.0, size=(300, 100, 30)) * rng.gamma(1.0, size=(100, 30)),
        NASTY: rng.normal(size=(300, 2)),
        "bad": np.full((300, 3), np.nan),
    }
    posterior = made(draws, local=("loads",), num_obs=100, keep=True, nonfinite={"bad": 900})
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
    assert [name for name in loaded if not name.startswith("data:")] == []


def find(page, css):
    return page.find_elements("css selector", css)


def shown(page):
    return [button.text for button in find(page, "button.site") if button.is_displayed()]


def click_head(page, text):
    (head,) = (h for h in find(page, "thead th") if h.text.replace("\n", " ").startswith(text))
    head.find_element("css selector", "button").click()
    return head.get_attribute("aria-sort")


def picture_of(page, name):
    """Click a name; the row of its picture, drawn."""
    (button,) = (b for b in find(page, "button.site") if b.text == name)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    row = page.find_element("id", button.get_attribute("aria-controls"))
    waiting = "return new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))"
    page.execute_script(waiting)
    return row


def test_names_are_shown_as_they_are(page):
    assert shown(page) == NAMES


def test_search(page):
    box = page.find_element("id", "search")
    box.send_keys("LOCAL")
    assert shown(page) == ["loads"]
    assert page.find_element("id", "count").text == "1 of 6 sites"
    box.clear()
    box.send_keys("nothing like it")
    assert shown(page) == []
    assert page.find_element("id", "nothing").is_displayed()


def test_sort_by_numbers_and_by_names(page):
    assert click_head(page, "Shape") == "descending"
    assert shown(page) == ["loads", "curve", "weights", "bad", NASTY, "scale"]
    assert click_head(page, "Shape") == "ascending"
    assert shown(page) == ["scale", NASTY, "bad", "weights", "curve", "loads"]
    assert click_head(page, "Site") == "ascending"
    assert shown(page) == [NASTY, "bad", "curve", "loads", "scale", "weights"]
    click_head(page, "Lowest mean")
    assert shown(page)[-1] == "bad"  # unknown ones last in both directions
    click_head(page, "Lowest mean")
    assert shown(page)[-1] == "bad"


def test_a_click_opens_the_picture_below_its_row_and_closes_it(page):
    row = picture_of(page, "scale")
    assert len(row.find_elements("css selector", "svg rect.bar")) > 5
    above = page.execute_script("return arguments[0].previousElementSibling.innerText", row)
    assert above.startswith("scale")
    click_head(page, "Shape")
    above = page.execute_script("return arguments[0].previousElementSibling.innerText", row)
    assert above.startswith("scale")
    page.find_element("id", "search").send_keys("loads")
    assert not row.is_displayed()
    page.find_element("id", "search").send_keys("\b" * 5)
    assert row.is_displayed()
    find(page, "button.site[aria-expanded=true]")[0].click()
    assert not row.is_displayed()


def test_pictures_by_kind(page):
    weights = picture_of(page, "weights")
    assert len(weights.find_elements("css selector", "svg circle.mark")) == 12
    assert len(weights.find_elements("css selector", "svg line.rod")) == 12
    weights.find_element("css selector", "summary").click()
    assert len(weights.find_elements("css selector", "details tbody tr")) == 12
    curve = picture_of(page, "curve")
    assert len(curve.find_elements("css selector", "svg polygon.band")) == 1
    assert "Down-sampled to 1,000 blocks" in curve.text
    assert "No finite values." in picture_of(page, "bad").text
    assert NASTY in picture_of(page, NASTY).text


def test_heat_map_is_painted_and_read_by_keys(page):
    row = picture_of(page, "loads")
    canvas = row.find_element("css selector", ".map canvas")
    colours = """
        const [canvas] = arguments, context = canvas.getContext('2d');
        const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const seen = new Set();
        for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 4).join());
        return [canvas.width, canvas.height, seen.size];
    """
    width, height, before = page.execute_script(colours, canvas)
    assert (width, height) == (30, 100)
    assert before > 100
    _, widths = row.find_elements("css selector", ".choice button")
    label = canvas.get_attribute("aria-label")
    widths.click()
    assert widths.get_attribute("aria-pressed") == "true"
    assert canvas.get_attribute("aria-label") != label
    canvas.send_keys("\ue015\ue014")  # down, right
    assert "row 1, column 1: mean" in row.find_element("css selector", ".readout").text


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "phone"), [(390, True), (800, False), (1200, False)])
def test_fits_the_screen_in_both_themes(page, tmp_path, theme, width, phone):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": phone},
    )
    for name in ("scale", "curve", "loads"):
        picture_of(page, name)
    inner, outer = page.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert inner <= outer
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 150) == (theme == "dark")
    assert page.find_element("id", "sort").is_displayed() == phone
    picture = tmp_path / "page.png"
    assert page.save_screenshot(str(picture))
    assert picture.stat().st_size > 5_000
