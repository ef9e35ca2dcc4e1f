"""Downloads with pooch: verified, atomic, and safe if several processes run at the same time."""

import os
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import (
    PathLike,
    atomic_directories,
    ensure_writable_dir,
    file_hash,
    temporary_beside,
)
from paddlenlp.utils.log import get_logger

TIMEOUT = (10.0, 30.0)  # seconds to connect, seconds without a byte
MAX_BYTES = 1 << 30  # larger than any published file
MAX_SECONDS = 7200.0  # for one attempt
MIN_RATE = 1024  # bytes per second, on average after the first SLOW_START_S seconds
SLOW_START_S = 30.0
LOCK_TIMEOUT = MAX_SECONDS  # seconds to wait for another process that downloads the same file
WAIT_LINE_S = 30.0
MAX_UNPACKED = 4 << 30  # bytes
RETRIES = 3
CHUNK = 1 << 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Refused(Exception):
    """An answer of the server that would be the same at the next attempt."""


def fetch(
    url: str,
    path: PathLike,
    md5: str | None = None,
    hint: str = "",
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Download ``url`` to the file ``path`` unless a good copy already exists.

    A failed attempt is repeated from the first byte. If several processes need the file, one
    downloads it and the others wait.

    Args:
        url: https; plain http only to this machine.
        path: file to write; it appears only when it is complete and verified.
        md5: expected hex digest. Without it only the length can be checked.
        hint: end of the error message: what the user can do instead.
        max_bytes: a longer file is rejected.

    Returns:
        ``path``.

    Raises:
        UserError: the server cannot be reached, the content is wrong, or there is no space.
    """
    path = Path(path)
    if is_intact(path, md5):
        return path
    ensure_writable_dir(path.parent)
    with file_lock(path):
        if is_intact(path, md5):  # another process was first
            return path
        try:
            _check_scheme(url)
            with temporary_beside(path, directory=True) as folder:
                _download(url, folder / path.name, md5, max_bytes)
                os.replace(folder / path.name, path)
        except (_Refused, OSError, ValueError) as error:  # requests' errors are OSErrors too
            reason = "; ".join(filter(None, [_reason(error), hint]))
            raise UserError("download", f"cannot download {url}: {reason}") from None
        get_logger().info("downloaded %s (%d bytes)", path, path.stat().st_size)
    return path


def is_intact(path: Path, md5: str | None) -> bool:
    """Whether a file exists and has this MD5, if one is given."""
    return path.is_file() and (md5 is None or file_hash(path, "md5") == md5)


def _download(url: str, path: Path, md5: str | None, max_bytes: int) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # we log the same ourselves
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=CHUNK,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},
        hooks={"response": partial(_check_response, max_bytes=max_bytes, checked=bool(md5))},
    )
    get_logger().info("downloading %s", url)
    pooch.create(
        path=path.parent,
        base_url="",
        registry={path.name: md5 and f"md5:{md5}"},
        urls={path.name: url},
        retry_if_failed=RETRIES,
    ).fetch(path.name, downloader=downloader)
    path.chmod(0o644)  # pooch makes it readable only by its owner


@contextmanager
def file_lock(path: PathLike) -> Iterator[None]:
    """Hold the lock ``path``.lock, shared by all processes of the machine.

    The system releases the lock of a process that dies. The lock file is kept: if it were removed,
    two processes could hold the lock at the same time.

    Raises:
        UserError: another process held it for longer than `LOCK_TIMEOUT` seconds.
    """
    import filelock

    lock = filelock.FileLock(f"{path}.lock")
    start, wait = time.monotonic(), 0.0
    while True:
        try:
            lock.acquire(timeout=wait)
            break
        except filelock.Timeout:
            waited = time.monotonic() - start
        if waited >= LOCK_TIMEOUT:
            message = f"another process has held {lock.lock_file} for {waited:.0f} s"
            raise UserError("busy", f"{message}: stop it, or try later")
        message = "waiting for another process that prepares %s (%.0f of at most %.0f s)"
        get_logger().info(message, path, waited, LOCK_TIMEOUT)
        wait = min(WAIT_LINE_S, LOCK_TIMEOUT - waited)
    try:
        yield
    finally:
        lock.release()


def extract_zip(archive: PathLike, directory: PathLike) -> Path:
    """Unpack a zip archive into a new ``directory``, which appears only when it is complete.

    ``zipfile`` writes no entry outside the directory, whatever its name is.

    Raises:
        UserError: the file is not a complete zip archive.
    """
    with atomic_directories([directory]) as (temporary,):
        try:
            with zipfile.ZipFile(archive) as content:
                if sum(entry.file_size for entry in content.infolist()) > MAX_UNPACKED:
                    message = f"{archive} unpacks to more than {MAX_UNPACKED} bytes"
                    raise UserError("download", message)
                content.extractall(temporary)
        except (zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:
            message = f"{archive} is not a complete zip file ({error}): delete it and try again"
            raise UserError("download", message) from None
    return Path(directory)


def _check_response(response, *_, max_bytes: int, checked: bool, **__) -> None:
    """Check an answer, before requests follows a redirection; ``checked``: the MD5 is known."""
    if response.is_redirect:
        _check_scheme(urljoin(response.url, response.headers["Location"]))
        return
    status, headers = response.status_code, response.headers
    if 400 <= status < 500 and status != 429:
        raise _Refused(f"HTTP status {status}")
    if status != 200:  # pooch tries again
        return
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise _Refused("the server sent a web page instead of the file")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise _Refused(f"the server sent it with Content-Encoding {headers['Content-Encoding']}")
    length = headers.get("Content-Length", "")
    if not length.isdecimal() and not checked:
        raise _Refused("the server does not say how long the file is, and no checksum is known")
    if length.isdecimal() and int(length) > max_bytes:
        raise _Refused(f"the file has {length} bytes, more than the {max_bytes} expected")
    response.iter_content = partial(_bounded, response.raw, max_bytes)


def _bounded(raw, max_bytes: int, chunk_size: int) -> Iterator[bytes]:
    """Yield a body as it arrives; reject a web page, a body that is too long or too slow."""
    from requests.exceptions import ConnectionError
    from urllib3.exceptions import HTTPError

    start, size = time.monotonic(), 0
    while True:
        try:
            chunk = raw.read1(chunk_size)
        except HTTPError as error:  # pooch repeats only after errors of requests
            raise ConnectionError(error) from None
        if not chunk:
            return
        if not size and chunk.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
            raise _Refused("the server sent a web page instead of the file")
        size += len(chunk)
        seconds = time.monotonic() - start
        if size > max_bytes:
            raise _Refused(f"the file has more than the {max_bytes} bytes expected")
        if seconds > MAX_SECONDS or (seconds > SLOW_START_S and size < MIN_RATE * seconds):
            raise _Refused(f"{size} bytes in {seconds:.0f} s is too slow")
        yield chunk


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise _Refused(f"{url} is not https")


def _reason(error: Exception) -> str:
    """Describe a failed request briefly; requests' own messages are nested and long."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError):
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, exceptions.SSLError):
        return "the server's certificate was not accepted"
    if isinstance(error, (exceptions.ConnectionError, exceptions.Timeout)):
        return "the server cannot be reached, did not answer in time or stopped sending"
    return str(error).partition("\n")[0]
