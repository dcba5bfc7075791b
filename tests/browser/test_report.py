"""The report in a real browser: it draws, it reacts, and its console stays clean."""

import shutil

import pytest

from tests.e2e.command import run, write_config

pytestmark = pytest.mark.system

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL without a graphics card
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of an analysed study of two problems and two objectives, with failures."""
    folder = tmp_path_factory.mktemp("we ird'd")
    config = write_config(
        folder,
        problems=[{"truth": 1.0, "trouble": "some"}, {"truth": 2.0, "trouble": "curve"}],
        optuna={
            "max_trials": 20,
            "batch_size": 2,
            "confirm": 0,
            "objectives": ["error", "cost"],
            "stop_after_failures": 0,
        },
    )
    run("parsl-optuna", "--config", config, "--inline")
    run("parsl-optuna", "analyze", folder / "results", "--artifacts-dir", folder / "artifacts")
    return folder / "results" / "report.html"


@pytest.fixture(scope="module")
def chromium():
    webdriver = pytest.importorskip("selenium.webdriver")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    browser.implicitly_wait(20)
    yield browser
    browser.quit()


def opened(chromium, page, width):
    chromium.set_window_size(width, 4000)  # everything is in view, and drawn
    chromium.get("about:blank")
    chromium.get(page.as_uri())
    chromium.find_element("css selector", "html[data-ready=yes]")
    chromium.find_element("css selector", ".chart .main-svg")
    return chromium


def errors(chromium):
    return [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("width", [380, 800, 1400])
def test_the_page_draws_everything_and_fits(chromium, page, width):
    browser = opened(chromium, page, width)

    titles = [box.text for box in browser.find_elements("css selector", ".chart h2")]
    assert "History" in titles
    assert "Pareto fronts of the first two objectives" in titles
    assert "Importance of hyperparameters" in titles
    assert "What trials reported" in titles
    assert len(browser.find_elements("css selector", "#trials tbody tr")) == 40
    assert "ValueError" in browser.find_element("id", "failures").text
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    assert errors(browser) == []


PROBLEMS_OF_TRACES = """
const chart = [...document.querySelectorAll(".chart")].find((one) => one.querySelector("h2").textContent === arguments[0]);
const trials = JSON.parse(document.getElementById("data").textContent).trials;
const problemOf = new Map(trials.map((one) => [one.id, one.problem]));
const traces = chart.querySelector(".plot").data.filter((one) => [one.mode, one.type].includes(arguments[1]));
return traces.map((one) => [...new Set(one.customdata.map((id) => problemOf.get(id)))]);
"""  # noqa: E501


def test_each_problem_has_a_pareto_front_of_its_own(chromium, page):
    browser = opened(chromium, page, 1400)

    title = "Pareto fronts of the first two objectives"
    problems = browser.execute_script(PROBLEMS_OF_TRACES, title, "lines+markers")

    assert sorted(map(len, problems)) == [1, 1]
    assert problems[0] != problems[1]


def test_no_box_pools_two_problems_whatever_it_is_coloured_by(chromium, page):
    browser = opened(chromium, page, 1400)
    boxes = browser.find_elements("css selector", ".chart")
    chart = next(box for box in boxes if "A metric by groups" in box.text)

    chart.find_elements("css selector", "select")[2].send_keys("method")
    problems = browser.execute_script(PROBLEMS_OF_TRACES, "A metric by groups", "box")

    assert len(problems) >= 2
    assert all(len(names) == 1 for names in problems)


def test_filters_clicks_and_a_reload(chromium, page):
    browser = opened(chromium, page, 1400)
    row = browser.find_element("css selector", "#trials tbody tr")
    trial = row.get_attribute("data-id")
    row.click()
    detail = browser.find_element("id", "detail")
    assert trial in detail.text
    assert "Hyperparameters" in detail.text

    browser.find_element("css selector", "#problem option:nth-child(2)").click()
    assert browser.find_element("id", "count").text == "20 of 40 trials"
    browser.find_element("id", "search").send_keys("r_")
    assert len(browser.find_elements("css selector", "#trials tbody tr")) == 20
    browser.refresh()

    assert browser.find_element("id", "count").text == "20 of 40 trials"
    assert browser.find_element("id", "detail").is_displayed()
    assert errors(browser) == []


def test_a_click_on_a_point_opens_its_trial(chromium, page):
    browser = opened(chromium, page, 1400)

    browser.execute_script(
        "document.querySelector('.chart .plot').emit('plotly_click', {points: [{customdata: arguments[0]}]})",
        browser.find_element("css selector", "#trials tbody tr").get_attribute("data-id"),
    )

    assert browser.find_element("css selector", "#detail strong").text.startswith("r_")


def test_what_has_nothing_to_show_is_left_out_with_the_reason(chromium, page):
    browser = opened(chromium, page, 1400)

    titles = [box.text for box in browser.find_elements("css selector", ".chart h2")]
    left_out = browser.find_element("id", "missing").text
    assert "Differences between two values, all else equal" not in titles
    assert "no two trials differ in one hyperparameter alone" in left_out
    assert "Nothing to show" not in browser.find_element("id", "charts").text


def test_a_trial_that_reported_shows_its_curve_on_a_click(chromium, page):
    browser = opened(chromium, page, 1400)
    trial = browser.execute_script(
        "const data = JSON.parse(document.getElementById('data').textContent);"
        "return Object.keys(Object.values(Object.values(data.curves)[0])[0])[0]"
    )

    browser.execute_script('document.querySelector(`tr[data-id="${arguments[0]}"]`).click()', trial)

    assert "reported" in browser.find_element("id", "reported").text
    assert browser.find_elements("css selector", "#reported .main-svg")


def test_words_and_tables_are_there_before_the_plotting_library(chromium, page, tmp_path):
    head, rest = page.read_text().split('<script type="text/plain" id="library">')
    without = tmp_path / "report.html"
    without.write_text(head + '<script type="text/plain" id="library">' + rest[rest.index("</script>") :])

    chromium.get(without.as_uri())
    chromium.find_element("css selector", "html[data-ready=yes]")

    assert len(chromium.find_elements("css selector", "#trials tbody tr")) == 40
    assert chromium.find_element("id", "findings").text
    assert errors(chromium) == []
