"""Atomic files and directories, and the directory check."""

import errno
import json
import os
import subprocess
import sys
import threading

import pytest

from paddlenlp.utils import files
from paddlenlp.utils.files import atomic_directories, atomic_write, ensure_writable_dir, json_text
from tests.helpers.errors import raises_code


def names(directory):
    return sorted(path.name for path in directory.iterdir())


class Stop(BaseException):
    """Stands for Ctrl-C and SIGTERM, which are no ``Exception`` either."""


def test_write_makes_the_file_and_its_directory(tmp_path):
    with atomic_write(tmp_path / "a" / "b.txt") as file:
        file.write("é\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "é\n".encode()
    assert names(tmp_path / "a") == ["b.txt"]
    (tmp_path / "plain").write_text("x")  # with the permissions of the umask
    assert (tmp_path / "a" / "b.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_stopped_writers_leave_the_old_file_and_directory(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "old").write_text("x")

    def stop_halfway():
        with atomic_write(tmp_path / "file") as file:
            with atomic_directories([tmp_path / "best"]) as (work,):
                file.write("half")
                (work / "new").write_text("half")
                raise Stop

    pytest.raises(Stop, stop_halfway)
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path / "best") == ["old"]
    assert names(tmp_path) == ["best", "file"]


def test_write_follows_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_write(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_write_never_replaces_a_device(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    with atomic_write(pipe) as file:
        file.write("text")
    reader.join(timeout=10)
    assert got == ["text"]
    assert pipe.is_fifo()


def test_a_failed_swap_puts_the_old_directory_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    target = tmp_path / "best"
    target.mkdir()
    (target / "old").write_text("x")
    rename, calls = os.rename, []

    def fail_once(source, destination):
        calls.append(source)
        if len(calls) == 2:
            raise OSError("no")
        rename(source, destination)

    monkeypatch.setattr(files.os, "rename", fail_once)
    with pytest.raises(OSError, match="no"), atomic_directories([target]) as (work,):
        (work / "new").write_text("y")
    assert names(target) == ["old"]
    assert names(tmp_path) == ["best"]


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("existing", [("server", "client"), ()])
def test_several_directories_are_replaced_together_or_not(
    tmp_path, monkeypatch, exchange, existing
):
    for name in existing:
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text("x")
    swap, swapped = files._swap, []

    def fail_at_the_second(new, target):
        swapped.append(target.name)
        if len(swapped) == 2:
            raise Stop
        swap(new, target)

    def write():
        with atomic_directories([tmp_path / "server", tmp_path / "client"]) as works:
            for work in works:
                (work / "new").write_text("y")

    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    with monkeypatch.context() as failing:
        failing.setattr(files, "_swap", fail_at_the_second)
        pytest.raises(Stop, write)
    assert swapped[:2] == ["server", "client"]
    assert {path.name: names(path) for path in tmp_path.iterdir()} == dict.fromkeys(
        existing, ["old"]
    )
    write()
    both = dict.fromkeys(("server", "client"), ["new"])
    assert {path.name: names(path) for path in tmp_path.iterdir()} == both


def test_directory_never_replaces_a_file(tmp_path):
    (tmp_path / "best").write_text("precious")
    with raises_code("not-writable", "best"), atomic_directories([tmp_path / "best"]):
        pass
    assert (tmp_path / "best").read_text() == "precious"


WRITING = """
import sys
from paddlenlp.utils.files import atomic_directories, atomic_write
with atomic_write(sys.argv[1] + "/file"), atomic_directories([sys.argv[1] + "/best"]):
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path, repo_root):
    for name in (".other.0f.tmp", "best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").write_text("")
    command = [sys.executable, "-c", WRITING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": repo_root, "text": True}
    killed, live = (subprocess.Popen(command, **pipes) for _ in range(2))
    for process in (killed, live):
        assert process.stdout.readline() == "writing\n"
    assert len(names(tmp_path)) == 6
    killed.kill()
    killed.communicate(timeout=60)
    assert names(tmp_path / "best") == ["old"]
    with atomic_write(tmp_path / "file"), atomic_directories([tmp_path / "best"]):
        assert len(names(tmp_path)) == 6  # ours and those of the live process
    live.communicate("", timeout=60)
    assert live.returncode == 0
    assert names(tmp_path) == [".other.0f.tmp", "best", "file"]


def test_without_locks_leftovers_stay_for_a_day(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    for name, age in (("young", 0), ("old", 90000)):
        path = tmp_path / f".file.{name}.tmp"
        path.touch()
        os.utime(path, (path.stat().st_atime - age,) * 2)
    with atomic_write(tmp_path / "file"):
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == [".file.young.tmp", "file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named(tmp_path, number):
    def write():
        with atomic_directories([tmp_path / "best"]) as (work,), open(work / "x", "w"):
            raise OSError(number, os.strerror(number))

    with raises_code("not-writable", tmp_path / "best"):
        write()
    assert names(tmp_path) == []


def test_json_has_no_nan():
    content = {"a": [float("nan"), 1.5, {"b": float("inf")}]}
    assert json.loads(json_text(content)) == {"a": [None, 1.5, {"b": None}]}


def test_the_exchange_is_one_step(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("renameat2 is a Linux call")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    assert files._exchange(tmp_path / "a", tmp_path / "b")
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["b"], ["a"])
    assert not files._exchange(tmp_path / "a", tmp_path / "none")


def test_a_reader_never_sees_a_missing_or_half_directory(tmp_path):
    target = tmp_path / "best"
    with atomic_directories([target]) as (work,):
        for name in ("x", "y"):
            (work / name).write_text("0")
    done, seen = threading.Event(), []

    def read():
        while not done.is_set():
            seen.append(tuple(sorted(os.listdir(target))))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        with atomic_directories([target]) as (work,):
            for name in ("x", "y"):
                (work / name).write_text("1")
    done.set()
    reader.join(timeout=10)
    # An open listing of a directory that is being removed may show less, never something else.
    assert seen
    assert target.is_dir()
    assert {name for listing in seen for name in listing} <= {"x", "y"}


def test_directories_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for bad in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none", "/proc"):
        with raises_code("not-writable", bad):
            ensure_writable_dir(bad)
