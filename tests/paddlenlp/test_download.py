"""fetch against a real HTTP server on this machine, archives, cache paths and the log."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import requests

from paddlenlp.transformers import ConvBertTokenizer
from paddlenlp.utils import download
from paddlenlp.utils.download import extract_zip, fetch, file_lock, file_md5
from paddlenlp.utils.env import dataset_home, hub_url, model_home
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.hub import PRETRAINED_MODELS, pretrained_file
from paddlenlp.utils.log import get_logger
from tests.helpers.local_server import Trouble

CONTENT = bytes(random.Random(0).getrandbits(8) for _ in range(300_000))
HALF = 2 * download.CHUNK  # whole chunks survive a broken connection
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 0)


@pytest.fixture
def server(http_server):
    http_server.files["/file"] = CONTENT
    return http_server


@pytest.fixture
def get(server, tmp_path):
    """Return ``get(**options)``: fetch /file, check that it is whole and alone, return its path."""

    def run(**options):
        path = fetch(f"{server.url}/file", tmp_path / "cache" / "file", **options)
        assert path.read_bytes() == server.files["/file"]
        assert names(path.parent) == ["file"]
        return path

    return run


def names(directory: Path):
    return sorted(p.name for p in directory.iterdir() if p.suffix != ".lock")


def leave_part(tmp_path, content: bytes, tag: str = "") -> None:
    """Pretend that an earlier download broke off."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file.part").write_bytes(content)
    if tag:
        (tmp_path / "cache" / "file.part.tag").write_text(tag)


def test_a_file_is_fetched_once(get, server):
    get(md5=MD5, size=len(CONTENT))
    get(md5=MD5, size=len(CONTENT))
    assert server.count == 1


def test_a_good_file_needs_no_network(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert fetch("https://127.0.0.1:1/x", tmp_path / "file", md5=MD5) == tmp_path / "file"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("old", [b"", CONTENT[:1000]])
def test_a_damaged_file_is_replaced(get, server, tmp_path, old, capsys):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").write_bytes(old)
    get(md5=MD5)
    assert "downloading it again" in capsys.readouterr().err


def test_a_broken_connection_is_resumed(get, server):
    server.troubles = [Trouble(cut_after=HALF), Trouble(cut_after=download.CHUNK)]
    get()
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF + download.CHUNK}-"]


def test_progress_resets_the_count_of_attempts(get, server, monkeypatch):
    monkeypatch.setattr(download, "CHUNK", 20_000)
    server.troubles = [Trouble(cut_after=20_000) for _ in range(10)]
    get()
    assert server.count == 11


def test_a_short_body_is_noticed_whatever_the_http_library_says(get, server, monkeypatch):
    whole = requests.Response.iter_content
    short = [True]

    def iter_content(response, size):
        chunks = whole(response, size)
        return iter([next(chunks)]) if short and short.pop() else chunks

    monkeypatch.setattr(requests.Response, "iter_content", iter_content)
    get()
    assert server.ranges == [None, f"bytes={download.CHUNK}-"]


def test_a_server_that_starts_over_for_ever_is_left(server, tmp_path):
    server.honours_range = False
    server.troubles = [Trouble(cut_after=HALF), Trouble(cut_after=download.CHUNK)] * 9
    with pytest.raises(UserError, match="tried 4 times"):
        fetch(f"{server.url}/file", tmp_path / "file")
    assert server.count == 4


def test_a_new_process_resumes_too(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.troubles = [Trouble(cut_after=HALF)]
    path = tmp_path / "file"
    with pytest.raises(UserError):
        fetch(f"{server.url}/file", path)
    assert not path.exists()
    assert (tmp_path / "file.part").stat().st_size == HALF
    fetch(f"{server.url}/file", path)
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={HALF}-"


def test_a_server_without_ranges_sends_all_again(get, server):
    server.honours_range = False
    server.troubles = [Trouble(cut_after=HALF)]
    get()
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_a_changed_file_is_not_mixed_with_the_old_one(get, server, tmp_path):
    leave_part(tmp_path, b"old" * 1000, tag='"old version"')
    get()
    assert server.ranges == ["bytes=3000-"]


def test_without_tag_and_checksum_nothing_is_resumed(get, server, tmp_path):
    leave_part(tmp_path, CONTENT[:1000])
    get()
    assert server.ranges == [None]


def test_with_a_checksum_no_tag_is_needed(get, server, tmp_path):
    server.etags = False
    leave_part(tmp_path, CONTENT[:1000])
    get(md5=MD5)
    assert server.ranges == ["bytes=1000-"]


def test_a_mixture_is_found_by_the_checksum(get, server, tmp_path):
    server.etags = False
    leave_part(tmp_path, b"x" * 1000)
    get(md5=MD5)
    assert server.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize("part", [CONTENT, CONTENT + b"more"])
def test_a_part_that_is_too_long_starts_over(get, server, tmp_path, part):
    leave_part(tmp_path, part)
    get(md5=MD5)
    assert server.ranges[-1] is None


def test_a_range_that_was_not_asked_for_starts_over(get, server):
    server.troubles = [Trouble(cut_after=HALF), Trouble(wrong_range=True)]
    get()
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_server_errors_are_tried_again(get, server):
    server.troubles = [Trouble(status=503), Trouble(status=429)]
    get()
    assert server.count == 3


def test_a_stalled_server_is_left(get, server):
    server.troubles = [Trouble(stall_after=HALF)]
    started = time.monotonic()
    get(timeout=(5, 0.3))
    assert time.monotonic() - started < 10
    assert server.ranges == [None, f"bytes={HALF}-"]


ENDINGS = {
    "not found": ([Trouble(status=404)], {}, "HTTP status 404", 1),
    "forbidden": ([Trouble(status=403)], {}, "HTTP status 403", 1),
    "always busy": ([Trouble(status=503)] * 9, {}, r"HTTP status 503 \(tried 4 times\)", 4),
    "always cut": ([Trouble(cut_after=0)] * 9, {}, "ended after 0 of 300000|broke off", 4),
    "always stalled": (
        [Trouble(stall_after=0)] * 9,
        {"timeout": (5, 0.2)},
        "the server stopped sending",
        4,
    ),
    "wrong checksum": ([], {"md5": "0" * 32}, f"MD5 checksum {MD5}, expected 0000", 2),
    "wrong size": ([], {"size": 5}, "300000 bytes, expected 5", 2),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_failures_end_in_one_line_that_helps(server, tmp_path, case):
    troubles, options, message, requests = ENDINGS[case]
    server.troubles = list(troubles)
    with pytest.raises(UserError, match=f"cannot download .*{message}.*; give --x DIR$") as caught:
        fetch(f"{server.url}/file", tmp_path / "file", hint="give --x DIR", **options)
    assert "\n" not in str(caught.value)
    assert server.count == requests
    assert not (tmp_path / "file").exists()


def test_nobody_listens(tmp_path, free_port):
    with pytest.raises(UserError, match="the server cannot be reached"):
        fetch(f"http://127.0.0.1:{free_port()}/x", tmp_path / "x")


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://127.0.0.1/x", "file:///etc/hostname", "x"]
)
def test_only_https_leaves_this_machine(tmp_path, url):
    with pytest.raises(UserError, match="is not https"):
        fetch(url, tmp_path / "x")


def test_a_redirection_is_followed_but_never_to_plain_http(get, server, tmp_path):
    server.troubles = [Trouble(status=302, location="/file")]
    get()
    server.troubles = [Trouble(status=302, location="http://127.0.0.2:1/x")]
    with pytest.raises(UserError, match=r"http://127\.0\.0\.2:1/x is not https"):
        fetch(f"{server.url}/file", tmp_path / "other")


def test_a_full_disk_is_said(server, tmp_path, monkeypatch):
    def full(job, response, offset):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(UserError, match=r"writing .*file\.part: No space left on device"):
        fetch(f"{server.url}/file", tmp_path / "file")


def test_a_log_file_gets_whole_lines_and_no_progress_bar(get, capsys):
    get()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("[") for line in lines)
    assert "downloaded" in lines[1]


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
    wait_for(lambda: server.count == 1)
    second = subprocess.Popen(command, **options)
    line = second.stderr.readline()
    server.release.set()
    results = [process.communicate(timeout=60) for process in (first, second)]
    assert "waiting for another process" in line
    assert [out for out, _ in results] == ["300000\n", "300000\n"], results
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_the_lock_of_a_dead_process_is_free(server, tmp_path, repo_root):
    code = (
        "import os, sys\nfrom paddlenlp.utils.download import file_lock\n"
        "with file_lock(sys.argv[1]): os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "file"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=repo_root, timeout=60)
    fetch(f"{server.url}/file", path, md5=MD5)


def test_a_lock_that_stays_is_an_error(tmp_path, repo_root):
    code = (
        "import sys\nfrom paddlenlp.utils.download import file_lock\n"
        "with file_lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()\n"
    )
    path = tmp_path / "file"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=repo_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process has held"), file_lock(path, 0.2):
            pass
    finally:
        holder.communicate("", timeout=60)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def make_zip(path: Path, entries) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_extract_replaces_the_directory(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"d/x": "1", "d/e/y": "2"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("x")
    extract_zip(archive, tmp_path / "out")
    assert (tmp_path / "out" / "d" / "e" / "y").read_text() == "2"
    assert names(tmp_path / "out") == ["d"]


@pytest.mark.parametrize("name", ["../x", "d/../../x", "/tmp/x", "..\\x", "C:\\x"])
def test_extract_never_leaves_the_directory(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", {"good": "1", name: "2"})
    with pytest.raises(UserError, match="points outside"):
        extract_zip(archive, tmp_path / "in" / "out")
    assert names(tmp_path) == ["a.zip", "in"]
    assert names(tmp_path / "in") == []


def test_extract_refuses_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MAX_EXTRACTED_BYTES", 10)
    archive = make_zip(tmp_path / "a.zip", {"x": "1" * 11})
    with pytest.raises(UserError, match="would unpack to 11 bytes"):
        extract_zip(archive, tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_extract_refuses_a_damaged_archive(tmp_path, damage):
    archive = make_zip(tmp_path / "a.zip", {"x": "1" * 1000})
    content = archive.read_bytes()
    flipped = content[:500] + b"\x00\x00" + content[502:]
    archive.write_bytes({"cut": content[:700], "flipped": flipped, "text": b"no zip"}[damage])
    with pytest.raises(UserError, match="not a whole zip file"):
        extract_zip(archive, tmp_path / "out")
    assert names(tmp_path) == ["a.zip"]


def test_file_md5(tmp_path):
    (tmp_path / "x").write_bytes(CONTENT * 10)
    assert file_md5(tmp_path / "x") == hashlib.md5(CONTENT * 10).hexdigest()


def test_cache_directories_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("PPNLP_HUB", raising=False)
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path / "cache"))
    assert model_home() == tmp_path / "cache" / "models"
    monkeypatch.setenv("PPNLP_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dataset_home() == tmp_path / ".paddlenlp" / "datasets"
    assert not list(tmp_path.iterdir())  # asking creates nothing
    assert hub_url().startswith("https://")
    monkeypatch.setenv("PPNLP_HUB", "https://mirror.example/x/")
    assert hub_url() == "https://mirror.example/x"


def test_a_published_name_downloads_its_vocabulary(server, tiny_vocab, monkeypatch, tmp_path):
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
    monkeypatch.setenv("PPNLP_HUB", server.url)
    address = "/paddlenlp/models/transformers/convbert/convbert-small/vocab.txt"
    server.files[address] = tiny_vocab.read_bytes()
    tokenizer = ConvBertTokenizer.from_pretrained("convbert-small")
    assert tokenizer.vocab == ConvBertTokenizer(tiny_vocab).vocab
    ConvBertTokenizer.from_pretrained("convbert-small")
    assert server.count == 1
    with pytest.raises(UserError, match=r"404; .*--model_name_or_path DIR"):
        pretrained_file("convbert-base", "model_state.pdparams")
    with pytest.raises(UserError, match=", ".join(PRETRAINED_MODELS)):
        pretrained_file("bert", "vocab.txt")


def test_log_lines_have_upstreams_form(capsys):
    get_logger("part").warning("text %d", 1)
    assert get_logger("part").parent is get_logger() is logging.getLogger("paddlenlp")
    assert get_logger("paddlenlp.utils").name == "paddlenlp.utils"
    captured = capsys.readouterr()
    assert captured.out == ""
    stamp, rest = captured.err.split("] ", 1)
    assert rest == "[ WARNING] - text 1\n"
    assert time.strptime(stamp[1:].split(",")[0], "%Y-%m-%d %H:%M:%S")


def test_a_log_line_is_printed_once_beside_other_handlers(repo_root):
    code = (
        "import logging; logging.basicConfig()\n"
        "from paddlenlp.utils.log import get_logger\n"
        "get_logger().info('hello'); get_logger().info('hello')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo_root, stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert json.dumps(done.stderr).count("hello") == 2
