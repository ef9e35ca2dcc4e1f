"""Downloads that resume, are checked, and are safe with several processes at work."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin, urlsplit

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_directory, ensure_writable_dir
from paddlenlp.utils.log import get_logger

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a single byte
LOCK_TIMEOUT = 3600.0  # seconds to wait for another process that downloads the same file
ATTEMPTS = 4
BACKOFF = 1.0  # seconds before the second attempt, doubled each time
CHUNK = 1 << 16  # a broken connection loses the bytes of an unfinished chunk
MAX_EXTRACTED_BYTES = 8 << 30  # the largest GLUE archive unpacks to well under 2 GiB
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Retry(Exception):
    """A failure that another attempt may mend."""


class _Fatal(Exception):
    """A failure that no attempt mends."""


@dataclass(frozen=True)
class _Job:
    """What one download needs. ``part`` keeps the bytes so far, ``tag`` the version they are of."""

    url: str
    path: Path
    md5: str | None
    size: int | None
    timeout: tuple[float, float]

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def tag(self) -> Path:
        return self.path.with_name(self.path.name + ".part.tag")

    def restart(self) -> None:
        for path in (self.part, self.tag):
            if path.exists():
                path.unlink()


def fetch(
    url: str,
    path: PathLike,
    md5: str | None = None,
    size: int | None = None,
    timeout: tuple[float, float] = (CONNECT_TIMEOUT, READ_TIMEOUT),
    hint: str = "",
) -> Path:
    """Download ``url`` to the file ``path`` unless a good copy is there already.

    An interrupted download is resumed (HTTP Range) where the server still has the same file. Of
    several processes one downloads and the others wait for it.

    Args:
        url: https; plain http only to this machine.
        path: file to write; appears only when whole and checked.
        md5: expected hex digest. Without it only the announced length can be checked.
        size: expected bytes.
        timeout: seconds to connect, and seconds without a byte.
        hint: what the user can give instead, ends the error message.

    Returns:
        ``path``.

    Raises:
        UserError: not reachable, wrong content, or no room; says what to give instead.
    """
    job = _Job(url, Path(path), md5, size, timeout)
    if job.path.is_file() and _mismatch(job, job.path) is None:
        return job.path
    ensure_writable_dir(job.path.parent)
    with file_lock(job.path):
        try:
            _download_unless_good(job)
        except _Fatal as error:
            ending = f"; {hint}" if hint else ""
            raise UserError("download", f"cannot download {url}: {error}{ending}") from None
    return job.path


@contextmanager
def file_lock(path: PathLike, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold the lock ``path``.lock, shared by all processes of the machine.

    The system frees the lock of a process that dies. The lock file stays: removing it would let two
    processes hold "the" lock at once.

    Raises:
        UserError: another process held it for longer than ``timeout`` seconds.
    """
    import filelock

    lock_path = str(path) + ".lock"
    lock = filelock.FileLock(lock_path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        get_logger().info("waiting for another process that prepares %s", path)
        try:
            lock.acquire(timeout=timeout)
        except filelock.Timeout:
            raise UserError(
                "busy",
                f"another process has held {lock_path} for {timeout:.0f} s: end it, or try later",
            ) from None
    try:
        yield
    finally:
        lock.release()


def extract_zip(archive: PathLike, directory: PathLike) -> Path:
    """Unpack a zip archive into a new ``directory``, which appears only when complete.

    Raises:
        UserError: not a whole zip file, or an entry that would land outside ``directory``.
    """
    with atomic_directory(directory) as temporary:
        try:
            with zipfile.ZipFile(archive) as content:
                _check_entries(content, archive)
                content.extractall(temporary)
        except (zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:
            raise UserError(
                "download", f"{archive} is not a whole zip file ({error}): delete it and try again"
            ) from None
    return Path(directory)


def file_md5(path: PathLike) -> str:
    """Return the hex MD5 digest of a file (an integrity check, not a signature)."""
    digest = hashlib.md5()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _check_entries(content: zipfile.ZipFile, archive: PathLike) -> None:
    total = 0
    for entry in content.infolist():
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in entry.filename:
            raise UserError(
                "download", f"{archive}: entry '{entry.filename}' points outside; not unpacked"
            )
        total += entry.file_size
    if total > MAX_EXTRACTED_BYTES:
        raise UserError("download", f"{archive} would unpack to {total} bytes; not unpacked")


def _mismatch(job: _Job, path: Path) -> str | None:
    """Say what is wrong with the content of ``path``, None when nothing is."""
    found = path.stat().st_size
    if job.size is not None and found != job.size:
        return f"{found} bytes, expected {job.size}"
    if job.md5 is not None:
        digest = file_md5(path)
        if digest != job.md5:
            return f"MD5 checksum {digest}, expected {job.md5}"
    return None


def _download_unless_good(job: _Job) -> None:
    if job.path.is_file():  # made by another process meanwhile, or damaged
        problem = _mismatch(job, job.path)
        if problem is None:
            return
        get_logger().warning("%s: %s; downloading it again", job.path, problem)
    _download(job)


def _download(job: _Job) -> None:
    _check_scheme(job.url)
    failures = 0  # in a row without getting further than ever before
    furthest = _size(job.part)
    restarts = 0
    while True:
        try:
            _transfer(job)
            failure = _mismatch(job, job.part)
            if failure is None:
                break
            job.restart()
            restarts += 1
            if restarts == 2:  # a full copy was wrong as well: the source is
                raise _Fatal(failure)
        except _Retry as error:
            failure = str(error)
        except OSError as error:
            raise _Fatal(f"writing {job.part}: {error.strerror or error}") from None
        failures = 1 if _size(job.part) > furthest else failures + 1
        furthest = max(furthest, _size(job.part))
        if failures == ATTEMPTS:
            raise _Fatal(f"{failure} (tried {ATTEMPTS} times)")
        get_logger().warning("download of %s: %s; trying again", job.url, failure)
        time.sleep(BACKOFF * 2 ** (failures - 1))
    os.replace(job.part, job.path)
    job.restart()
    get_logger().info("downloaded %s (%d bytes)", job.path, _size(job.path))


def _transfer(job: _Job) -> None:
    """Make one request and append what comes to the part file, until the announced length."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # byte counts must be those of the file
    tag = job.tag.read_text(encoding="utf-8") if job.tag.exists() else ""
    # A resumed file could mix two versions: only the tag or the checksum can tell.
    offset = _size(job.part) if tag or job.md5 else 0
    if offset:
        headers["Range"] = f"bytes={offset}-"
    if offset and tag:
        headers["If-Range"] = tag
    get_logger().info("downloading %s%s", job.url, f" from byte {offset}" if offset else "")
    try:
        with requests.get(
            job.url,
            headers=headers,
            stream=True,
            timeout=job.timeout,
            hooks={"response": _check_redirection},
        ) as response:
            offset = _accept(job, response, offset)
            _receive(job, response, offset)
    except requests.exceptions.InvalidURL as error:
        raise _Fatal(str(error)) from None
    except requests.exceptions.RequestException as error:
        raise _Retry(_reason(error)) from None


def _accept(job: _Job, response, offset: int) -> int:
    """Check the status and return the byte at which this response starts."""
    status = response.status_code
    if status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        return offset
    if status in (206, 416):  # not the range asked for: what we have is of no use
        job.restart()
        raise _Retry(f"the server cannot resume at byte {offset}")
    if status == 429 or status >= 500:
        raise _Retry(f"HTTP status {status}")
    if status != 200:
        raise _Fatal(f"HTTP status {status}")
    job.restart()
    return 0


def _receive(job: _Job, response, offset: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isdigit() else None
    tag = response.headers.get("ETag", "")
    if tag and not tag.startswith("W/"):  # a weak tag does not promise equal bytes
        job.tag.write_text(tag, encoding="utf-8")
    with open(job.part, "ab") as file, _progress(job, offset, total) as bar:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    received = _size(job.part)
    if total is not None and received != total:
        raise _Retry(f"the connection ended after {received} of {total} bytes")


def _progress(job: _Job, offset: int, total: int | None):
    """A progress bar on a terminal, silence in a log file."""
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    name = job.path.name
    return tqdm(total=total, initial=offset, unit="B", unit_scale=True, desc=name, disable=quiet)


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise _Fatal(f"{url} is not https")


def _check_redirection(response, **_) -> None:
    """Called for each answer before requests follows its redirection."""
    if response.is_redirect:
        _check_scheme(urljoin(response.url, response.headers["Location"]))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    """Name a failed request in a few words; requests' own messages are nested and long."""
    from requests import exceptions

    if "timed out" in str(error) and not isinstance(error, exceptions.ConnectTimeout):
        return "the server stopped sending"  # in a body it comes as a ConnectionError
    known = (
        (exceptions.ConnectTimeout, "no connection within the time limit"),
        (exceptions.SSLError, "the server's certificate was not accepted"),
        (exceptions.ChunkedEncodingError, "the connection broke off"),
        (exceptions.ConnectionError, "the server cannot be reached"),
    )
    return next((text for kind, text in known if isinstance(error, kind)), type(error).__name__)
