"""The page of deploy/web_demo in a real browser, headless and without network.

Run with ``SCREENSHOTS=images`` in the environment, the test writes the pictures of the documents.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from tests.helpers.errors import assert_refused
from tests.helpers.local_server import free_port
from tests.helpers.serving import Served
from tests.helpers.waiting import PATIENCE_S, wait_until, wait_while_running

APP = "deploy/web_demo/app.py"
DEMO_PYTHON = REPO_ROOT / ".venv-demo" / "bin" / "python"
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [
    name
    for name, found in (
        (".venv-demo (bash shell/demo.sh)", DEMO_PYTHON.is_file()),
        ("Debian's chromium and chromium-driver", BROWSER and DRIVER),
        ("selenium (requirements-dev.txt)", find_spec("selenium")),
    )
    if not found
]
needs_browser = pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def page(tiny_checkpoint, tmp_path_factory):
    """The address of a running page."""
    with running("--model_path", demo_model(tiny_checkpoint), tmp_path_factory) as address:
        yield address


def demo_model(tiny_checkpoint) -> Path:
    """The model of the screenshots; otherwise the tiny one."""
    return Path(os.environ.get("DEMO_MODEL") or tiny_checkpoint)


@contextlib.contextmanager
def running(flag, value, tmp_path_factory):
    """Start the page on a free port; yield its address."""
    port = free_port()
    log = tmp_path_factory.mktemp("page") / "log.txt"
    command = [DEMO_PYTHON, REPO_ROOT / APP, flag, value, "--port", port]
    with open(log, "w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file)
    try:
        wait_while_running(lambda: "ready: " in log.read_text(), process, log.read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def browser(page):
    """A browser that reaches this machine only, on the page."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--disable-dev-shm-usage", "--window-size=1000,1400"):
        options.add_argument(flag)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(PATIENCE_S)
    try:
        visit(driver, page)
        wait_until(lambda: find(driver, "#explain"))
        yield driver
    finally:
        driver.quit()


def visit(browser, address: str) -> None:
    """Open the page and wait until its parts are there."""
    browser.get(address)
    for part in ("#sentences textarea", "#classify", "#language input"):
        wait_until(lambda part=part: find(browser, part))


def find(browser, selector: str):
    return browser.find_elements("css selector", selector)


def text_of(browser, selector: str) -> str:
    """The shown text of the first such element; "" while the page replaces it."""
    script = "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''"
    return browser.execute_script(script, selector)


def type_and_click(browser, text: str, button: str = "classify") -> None:
    """Put a text into the box as pasting does, and click."""
    box = find(browser, "#sentences textarea")[0]
    browser.execute_script(
        "const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set;"
        "set.call(arguments[0], arguments[1]);"
        "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        box,
        text,
    )
    find(browser, f"#{button}")[0].click()


def rows(browser) -> list[list[str]]:
    """The cells of the table of answers."""
    script = (
        "return [...document.querySelectorAll('#answers tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    return browser.execute_script(script)


def screenshot(browser, name: str) -> None:
    """Keep a picture of the page where the environment names a folder for it."""
    if folder := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / name))


@needs_browser
def test_a_sentence_gets_a_label(browser):
    type_and_click(browser, "not a bad film , a great story")
    wait_until(lambda: rows(browser))
    ((text, label, prob),) = rows(browser)
    assert text == "not a bad film , a great story"
    assert label in ("negative", "positive")
    assert 0.5 <= float(prob) <= 1


@needs_browser
def test_the_words_are_highlighted_beside_the_kernels(browser):
    type_and_click(browser, "a warm , funny and great film .", "explain")
    wait_until(lambda: find(browser, "#why img"))
    words = browser.execute_script(
        "return [...document.querySelectorAll('#why .words span')].map(e => e.innerText)"
    )
    assert words[-3:] == ["great", "film", "."]
    assert text_of(browser, "#why td") == "a warm , funny and great film ."
    width = "return document.querySelector('#why img').naturalWidth"
    wait_until(lambda: browser.execute_script(width) > 100)
    screenshot(browser, "web_demo.png")


@needs_browser
def test_fifty_pasted_lines_keep_their_order(browser):
    lines = [f"film {number} was {'good' if number % 2 else 'bad'}" for number in range(50)]
    type_and_click(browser, "\n".join(lines))
    wait_until(lambda: len(rows(browser)) == 50)
    assert [row[0] for row in rows(browser)] == lines


@needs_browser
@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_an_empty_text_is_refused(browser, text):
    type_and_click(browser, "a film")
    wait_until(lambda: len(rows(browser)) == 1)
    type_and_click(browser, text)
    wait_until(lambda: text_of(browser, "#answers [role=alert]"))
    assert rows(browser) == []


@needs_browser
def test_more_texts_than_the_service_takes_are_refused(browser):
    type_and_click(browser, "a film\n" * 65)
    wait_until(lambda: "65" in text_of(browser, "#answers [role=alert]"))


@needs_browser
def test_markup_is_shown_and_not_run(browser):
    attack = "<script>document.title='attacked'</script><img src=x onerror=document.title='x'> film"
    for button, place in (("classify", "#answers td"), ("explain", "#why .words")):
        type_and_click(browser, attack, button)
        wait_until(lambda place=place: "script" in text_of(browser, place))
    assert rows(browser)[0][0] == attack
    assert browser.title == "ConvBERT"
    assert find(browser, "#answers :is(script, img), #why :is(script, td img, .words img)") == []


@needs_browser
def test_the_language_can_be_switched(browser):
    find(browser, "#language input")[1].click()
    wait_until(lambda: text_of(browser, "#classify") == "分类")
    wait_until(lambda: rows(browser) == [])
    type_and_click(browser, "a great film\na dull story\nnot bad at all")
    wait_until(lambda: text_of(browser, "#answers th:nth-child(2)") == "标签")
    screenshot(browser, "web_demo_cn.png")
    find(browser, "#language input")[0].click()
    wait_until(lambda: text_of(browser, "#classify") == "Classify")


@needs_browser
@pytest.mark.skipif(not find_spec("grpc"), reason="missing: bash shell/serving.sh setup")
def test_the_answers_can_be_those_of_a_service(
    browser, page, model_dir, tmp_path, tmp_path_factory
):
    with Served(model_dir, tmp_path / "run") as service:
        url = f"http://127.0.0.1:{service.port}/convbert/prediction"
        with running("--url", url, tmp_path_factory) as address:
            _, prob, label = map(json.loads, service.ask("not a great film")[1]["value"])
            check_answer(browser, address, label[0], prob[0])
    visit(browser, page)


@needs_browser
def test_the_answers_can_be_those_of_an_exported_model(
    browser, page, tiny_export, run_script, tmp_path_factory
):
    text = ["--model_dir", tiny_export, "--text", "not a great film"]
    done = run_script("deploy/inference_python/infer.py", *text)
    prob, label = re.search(r"prob: ([\d.]+), label: (\w+)", done.stdout).groups()
    with running("--model_dir", tiny_export, tmp_path_factory) as address:
        check_answer(browser, address, label, float(prob))
    visit(browser, page)


def check_answer(browser, address: str, label: str, prob: float) -> None:
    """Compare the answer of another page for one sentence with a label and its probability."""
    visit(browser, address)
    type_and_click(browser, "not a great film")
    wait_until(lambda: rows(browser))
    ((_, shown, shown_prob),) = rows(browser)
    assert shown == label
    assert float(shown_prob) == pytest.approx(prob, abs=1e-3)


@needs_browser
def test_nothing_is_asked_of_other_hosts(browser, page):
    visit(browser, page)
    for button, place in (("classify", "#answers td"), ("explain", "#why img")):
        type_and_click(browser, "a great film", button)
        wait_until(lambda place=place: find(browser, place))
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert urls
    local = ("http://127.0.0.1:", "data:", "blob:")
    assert [url for url in urls if not url.startswith(local)] == []


def test_two_sources_of_answers_are_refused(run_script):
    assert_refused(run_script(APP, "--url", "http://x", "--model_dir", "y"), "command-line")


@pytest.mark.skipif(find_spec("gradio") is not None, reason="Gradio is installed here")
def test_without_gradio_the_script_is_named(run_script):
    assert_refused(run_script(APP, "--model_dir", "x"), "package-missing", "shell/demo.sh")


@pytest.mark.skipif(not DEMO_PYTHON.is_file(), reason="missing: .venv-demo (bash shell/demo.sh)")
def test_a_missing_model_ends_the_page(tmp_path):
    command = [DEMO_PYTHON, REPO_ROOT / APP, "--model_dir", tmp_path / "none"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "[file-missing]" in done.stderr
    assert done.stderr.rstrip().endswith("[step-failed]")
    assert "Traceback" not in done.stderr
