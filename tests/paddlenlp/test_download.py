"""fetch against a real HTTP server on this machine, archives, cache paths and the log."""

import hashlib
import logging
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.utils import download
from paddlenlp.utils.download import extract_zip, fetch, file_lock
from paddlenlp.utils.env import hub_url, ppnlp_home
from paddlenlp.utils.hub import PRETRAINED_MODELS, pretrained_file
from paddlenlp.utils.log import LINE_FORMAT, BriefFormatter, get_logger
from tests.conftest import run_python
from tests.helpers.errors import raises_code
from tests.helpers.local_server import Trouble
from tests.helpers.waiting import wait_until

CONTENT = bytes(random.Random(0).getrandbits(8) for _ in range(300_000))
HALF = 2 * download.CHUNK
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)


@pytest.fixture
def server(http_server):
    http_server.files["/file"] = CONTENT
    return http_server


@pytest.fixture
def address(server, tmp_path, monkeypatch):
    """The path of a vocabulary at a hub on this machine; the cache is empty."""
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
    monkeypatch.setenv("PPNLP_HUB", server.url)
    return "/paddlenlp/models/transformers/convbert/convbert-small/vocab.txt"


@pytest.fixture
def get(server, tmp_path):
    """Return ``get(**options)``: fetch /file, check that it is complete and alone, return it."""

    def run(**options):
        path = fetch(f"{server.url}/file", tmp_path / "cache" / "file", **options)
        assert path.read_bytes() == server.files["/file"]
        assert names(path.parent) == ["file"]
        assert path.stat().st_mode & 0o777 == 0o644  # readable by others
        return path

    return run


def names(directory: Path):
    return sorted(p.name for p in directory.iterdir() if p.suffix != ".lock")


def test_a_file_is_fetched_once(get, server):
    get(md5=MD5)
    get(md5=MD5)
    assert server.count == 1


@pytest.mark.parametrize("old", [b"", CONTENT[:1000]])
def test_a_damaged_file_is_replaced(get, server, tmp_path, old):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").write_bytes(old)
    get(md5=MD5)
    assert server.count == 1


TROUBLES = {
    "closed early": [Trouble(cut_after=HALF), Trouble(cut_after=0)],
    "busy": [Trouble(status=503), Trouble(status=429)],
    "stalled": [Trouble(stall_after=HALF)],
}


@pytest.mark.parametrize("kind", TROUBLES)
def test_a_failure_that_may_pass_is_tried_again(get, server, kind, monkeypatch):
    if kind == "stalled":
        monkeypatch.setattr(download, "TIMEOUT", (5, 1))
    server.troubles = list(TROUBLES[kind])
    get()
    assert server.count == len(TROUBLES[kind]) + 1


ATTEMPTS = download.RETRIES + 1
ENDINGS = {  # what the server does, options, a fact of the message, requests
    "not found": ([Trouble(status=404)], {}, 404, 1),
    "always busy": ([Trouble(status=503)] * 9, {}, 503, ATTEMPTS),
    "always closed early": ([Trouble(cut_after=0)] * 9, {}, "", ATTEMPTS),
    "always stalled": ([Trouble(stall_after=0)] * 9, {}, "", ATTEMPTS),
    "wrong checksum": ([], {"md5": "0" * 32}, MD5, ATTEMPTS),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_failures_end_in_one_line_that_helps(server, tmp_path, monkeypatch, case):
    if case == "always stalled":
        monkeypatch.setattr(download, "TIMEOUT", (5, 0.2))
    troubles, options, fact, requests = ENDINGS[case]
    server.troubles = list(troubles)
    url = f"{server.url}/file"
    with raises_code("download", url, fact, "give --x DIR"):
        fetch(url, tmp_path / "file", hint="give --x DIR", **options)
    assert server.count == requests
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/hostname", "x"]
)
def test_only_https_leaves_this_machine(tmp_path, url):
    with raises_code("download", url, "https"):
        fetch(url, tmp_path / "x")


def test_a_redirection_is_followed_but_never_to_plain_http(get, server, tmp_path):
    server.troubles = [Trouble(status=302, location="/file")]
    get()
    server.troubles = [Trouble(status=302, location="http://127.0.0.2:1/x")]
    with raises_code("download", "http://127.0.0.2:1/x", "https"):
        fetch(f"{server.url}/file", tmp_path / "other")


def test_a_full_disk_is_named(server, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.core.shutil.move", full)
    with raises_code("download", "No space left on device"):
        fetch(f"{server.url}/file", tmp_path / "file")


def test_a_log_file_gets_whole_lines_and_no_progress_bar(get, capsys):
    get()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("[") for line in lines)


NO_LENGTH = {"Content-Length": ""}
FOREIGN = {
    "a web page": (b"x" * 99, Trouble(headers={"Content-Type": "text/html; charset=utf-8"})),
    "the text of a web page": (b"\n<!DOCTYPE html><html>Sign in</html>", Trouble()),
    "a gzip body": (b"\x1f\x8b" * 50, Trouble(headers={"Content-Encoding": "gzip"})),
    "no length": (b"x" * 99, Trouble(headers=NO_LENGTH)),
    "announced too long": (b"x" * 2000, Trouble()),
    "trickling": (b"x" * 900, Trouble(drip_s=0.02)),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_not_the_file_is_refused_and_not_cached(server, tmp_path, monkeypatch, case):
    monkeypatch.setattr(download, "SLOW_START_S", 0.3)
    monkeypatch.setattr(download, "MIN_RATE", 10**6)
    server.files["/file"], trouble = FOREIGN[case]
    server.troubles = [trouble] * 4
    with raises_code("download", "/file"):
        fetch(f"{server.url}/file", tmp_path / "file", max_bytes=1000)
    assert server.count == 1
    assert names(tmp_path) == []


def test_an_endless_body_is_cut(server, tmp_path):
    server.troubles = [Trouble(headers=NO_LENGTH)]
    with raises_code("download", 1000):
        fetch(f"{server.url}/file", tmp_path / "file", md5=MD5, max_bytes=1000)
    assert names(tmp_path) == []


def test_with_a_checksum_the_length_may_be_missing(server, get):
    server.troubles = [Trouble(headers=NO_LENGTH)]
    get(md5=MD5)


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_UNPACKED", 999)
    archive = make_zip(tmp_path / "a.zip", {"x": "1" * 500, "y": "1" * 500})
    with raises_code("download", archive):
        extract_zip(archive, tmp_path / "out")
    assert names(tmp_path) == ["a.zip"]


def test_a_published_file_stays_what_it_was_at_first(server, address):
    server.files[address] = b"one"
    path = pretrained_file("convbert-small", "vocab.txt")
    path.write_bytes(b"0ne")
    with raises_code("download", path):
        pretrained_file("convbert-small", "vocab.txt")
    path.unlink()
    server.files[address] = b"two"
    with raises_code("download", path):
        pretrained_file("convbert-small", "vocab.txt")
    assert not path.exists()
    server.files[address] = b"one"
    assert pretrained_file("convbert-small", "vocab.txt").read_bytes() == b"one"


FETCHING = """
import sys
from paddlenlp.utils.download import fetch
print(fetch(sys.argv[1], sys.argv[2], md5=sys.argv[3]).stat().st_size)
"""


def test_of_two_processes_one_downloads(server, tmp_path, repo_root):
    server.troubles = [Trouble(stall_after=HALF)]  # holds the first until both are there
    command = [sys.executable, "-c", FETCHING, f"{server.url}/file", str(tmp_path / "file"), MD5]
    options = {"cwd": repo_root, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, **options)
    wait_until(lambda: server.count == 1)
    second = subprocess.Popen(command, **options)
    line = second.stderr.readline()
    server.release.set()
    results = [process.communicate(timeout=60) for process in (first, second)]
    assert str(tmp_path / "file") in line  # it waits, and says for what
    assert [out for out, _ in results] == ["300000\n", "300000\n"], results
    assert server.count == 2  # both of the first process


HOLDING = """
import os, sys
from paddlenlp.utils.download import file_lock
with file_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path, repo_root):
    """A process that holds the lock of ``tmp_path/file``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "file")],
        cwd=repo_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate("", timeout=60)


def test_the_lock_of_a_dead_process_is_free(holder, server, tmp_path):
    holder.kill()
    holder.wait(timeout=60)
    fetch(f"{server.url}/file", tmp_path / "file", md5=MD5)


def test_a_lock_that_stays_is_an_error(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LOCK_TIMEOUT", 0.2)
    with raises_code("busy", tmp_path / "file"), file_lock(tmp_path / "file"):
        pass


def make_zip(path: Path, entries) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../x", "d/../../x", "/tmp/x"])
def test_extract_never_leaves_the_directory(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", {"good": "1", name: "2"})
    inside = extract_zip(archive, tmp_path / "in" / "out")
    assert names(tmp_path) == ["a.zip", "in"]
    assert names(tmp_path / "in") == ["out"]
    assert sorted(p.read_text() for p in inside.rglob("*") if p.is_file()) == ["1", "2"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_extract_refuses_a_damaged_archive(tmp_path, damage):
    archive = make_zip(tmp_path / "a.zip", {"x": "1" * 1000})
    content = archive.read_bytes()
    flipped = content[:500] + b"\x00\x00" + content[502:]
    archive.write_bytes({"cut": content[:700], "flipped": flipped, "text": b"no zip"}[damage])
    with raises_code("download", archive):
        extract_zip(archive, tmp_path / "out")
    assert names(tmp_path) == ["a.zip"]


def test_cache_directories_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("PPNLP_HUB", raising=False)
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "cache"))
    assert ppnlp_home() == tmp_path / "cache"
    monkeypatch.setenv("PPNLP_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ppnlp_home() == tmp_path / ".paddlenlp"
    assert not list(tmp_path.iterdir())  # asking creates nothing
    assert hub_url().startswith("https://")
    monkeypatch.setenv("PPNLP_HUB", "https://mirror.example/x/")
    assert hub_url() == "https://mirror.example/x"


def test_a_published_name_downloads_its_vocabulary(server, address, tiny_vocab):
    server.files[address] = tiny_vocab.read_bytes()
    tokenizer = ConvBertTokenizer.from_pretrained("convbert-small")
    assert tokenizer.vocab == ConvBertTokenizer(tiny_vocab).vocab
    ConvBertTokenizer.from_pretrained("convbert-small")
    assert server.count == 1
    with raises_code("download", 404, "--model_name_or_path DIR"):
        pretrained_file("convbert-base", "model_state.pdparams")
    with raises_code("model-name", *PRETRAINED_MODELS):
        pretrained_file("bert", "vocab.txt")


def test_log_lines_have_upstreams_form(capsys):
    get_logger("part").warning("text %d", 1)
    assert get_logger("part").parent is get_logger() is logging.getLogger("paddlenlp")
    captured = capsys.readouterr()
    assert captured.out == ""
    stamp, rest = captured.err.split("] ", 1)
    assert rest == "[ WARNING] - text 1\n"
    assert time.strptime(stamp[1:].split(",")[0], "%Y-%m-%d %H:%M:%S")


def test_a_record_about_a_request_is_one_short_line():
    formatter = BriefFormatter(LINE_FORMAT)
    try:
        raise ValueError("x\n" * 10000)
    except ValueError:
        record = logging.LogRecord("a", 40, __file__, 1, "%s", ("y\n" * 10000,), sys.exc_info())
    line = formatter.format(record)
    assert "\n" not in line
    assert len(line) < 300
    record = logging.LogRecord("a", 40, __file__, 1, "request %s", (1,), None)
    assert formatter.format(record).endswith("] - request 1")


def test_a_log_line_is_printed_once_beside_other_handlers():
    code = "import logging; logging.basicConfig()\n"
    code += "from paddlenlp.utils.log import get_logger; get_logger().info('hello')"
    done = run_python("-c", code)
    assert done.stderr.count("hello") == 1
