"""Downloads over pooch: checked, whole or not at all, and safe with several processes at work."""

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import PathLike, atomic_directory, ensure_writable_dir
from paddlenlp.utils.log import get_logger

TIMEOUT = (10.0, 30.0)  # seconds to connect, seconds without a byte
LOCK_TIMEOUT = 3600.0  # seconds to wait for another process that downloads the same file
RETRIES = 3
CHUNK = 1 << 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Refused(Exception):
    """An answer of the server that another attempt would not change."""


def fetch(
    url: str,
    path: PathLike,
    md5: str | None = None,
    timeout: tuple[float, float] = TIMEOUT,
    hint: str = "",
) -> Path:
    """Download ``url`` to the file ``path`` unless a good copy is there already.

    A failed attempt is repeated from the first byte. Of several processes one downloads and the
    others wait for it.

    Args:
        url: https; plain http only to this machine.
        path: file to write; appears only when it is complete and checked.
        md5: expected hex digest. Without it only the announced length can be checked.
        timeout: seconds to connect, and seconds without a byte.
        hint: what the user can give instead; ends the error message.

    Returns:
        ``path``.

    Raises:
        UserError: not reachable, wrong content, or no space; says what to give instead.
    """
    path = Path(path)
    if path.is_file() and (md5 is None or file_md5(path) == md5):
        return path
    ensure_writable_dir(path.parent)
    with file_lock(path):
        try:
            _check_scheme(url)
            _download(url, path, md5, timeout)
        except (_Refused, OSError, ValueError) as error:  # OSError: the system's, and requests'
            ending = f"; {hint}" if hint else ""
            raise UserError(
                "download", f"cannot download {url}: {_reason(error)}{ending}"
            ) from None
    return path


def _download(url: str, path: Path, md5: str | None, timeout: tuple[float, float]) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the lines below say the same in this log's form
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),
        chunk_size=CHUNK,
        timeout=timeout,
        hooks={"response": _check_response},
    )
    get_logger().info("downloading %s", url)
    pooch.create(
        path=path.parent,
        base_url="",
        registry={path.name: md5 and f"md5:{md5}"},
        urls={path.name: url},
        retry_if_failed=RETRIES,
    ).fetch(path.name, downloader=downloader)
    path.chmod(0o644)  # pooch leaves it readable by its owner only
    get_logger().info("downloaded %s (%d bytes)", path, path.stat().st_size)


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

    ``zipfile`` keeps every entry inside the directory, whatever its name.

    Raises:
        UserError: the file is not a complete zip archive.
    """
    with atomic_directory(directory) as temporary:
        try:
            with zipfile.ZipFile(archive) as content:
                content.extractall(temporary)
        except (zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:
            raise UserError(
                "download",
                f"{archive} is not a complete zip file ({error}): delete it and try again",
            ) from None
    return Path(directory)


def file_md5(path: PathLike) -> str:
    """Return the hex MD5 digest of a file (an integrity check, not a signature)."""
    digest = hashlib.md5()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _check_response(response, **_) -> None:
    """Called for each answer, before requests follows its redirection."""
    if response.is_redirect:
        _check_scheme(urljoin(response.url, response.headers["Location"]))
    elif 400 <= response.status_code < 500 and response.status_code != 429:
        raise _Refused(f"HTTP status {response.status_code}")


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise _Refused(f"{url} is not https")


def _reason(error: Exception) -> str:
    """Name a failed request in a few words: requests' own messages are nested and long."""
    from requests import exceptions

    known = (
        (exceptions.HTTPError, lambda: f"HTTP status {error.response.status_code}"),
        (exceptions.SSLError, lambda: "the server's certificate was not accepted"),
        (exceptions.ChunkedEncodingError, lambda: "the connection was closed too early"),
        (exceptions.Timeout, lambda: "the server did not answer in time"),
        (exceptions.ConnectionError, lambda: "the server cannot be reached or stopped sending"),
        (OSError, lambda: error.strerror or str(error)),
    )
    text = next((text() for kind, text in known if isinstance(error, kind)), str(error))
    return text.splitlines()[0]
