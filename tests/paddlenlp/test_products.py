"""Products and their manifests: what is replaced, what is refused, what a reader notices."""

import json
import shutil

import pytest

from paddlenlp.utils.products import (
    MANIFEST_FILE,
    add_to_manifest,
    check_replaceable,
    product_directory,
    verify,
)
from tests.helpers.errors import raises_code

KIND = "test product"


def write(path, text="content", **options):
    """Write a product of one file."""
    with product_directory(path, KIND, **options) as work:
        (work / "weights.pdparams").write_text(text)
    return path


def test_a_product_replaces_nothing_an_empty_directory_or_its_own_kind(tmp_path):
    write(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    write(tmp_path / "new", "again", settings={"flag": 1})
    assert (tmp_path / "new" / "weights.pdparams").read_text() == "again"
    manifest = json.loads((tmp_path / "new" / MANIFEST_FILE).read_text())
    assert manifest["settings"] == {"flag": 1}
    assert list(manifest["files"]) == ["weights.pdparams"]
    verify(tmp_path / "new")


def other_kind(path):
    """A product of another command."""
    with product_directory(path, "other product") as work:
        (work / "a.txt").write_text("a")


def foreign_file(path):
    """A product into which the user put a file."""
    write(path)
    (path / "notes.txt").write_text("mine")


def users_files(path):
    """A directory of the user."""
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "thesis.txt").write_text("mine")


@pytest.mark.parametrize("make", [other_kind, foreign_file, users_files])
def test_what_is_not_replaced(tmp_path, make):
    target = tmp_path / "target"
    make(target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with raises_code("occupied", target):
        write(target)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_inputs_and_their_parents_are_not_replaced(tmp_path):
    source = write(tmp_path / "runs" / "source")
    (tmp_path / "link").symlink_to(source)
    for target in (source, tmp_path / "runs", tmp_path, tmp_path / "link", f"{source}/../source"):
        with raises_code("occupied", source):
            check_replaceable(target, KIND, [source])
    check_replaceable(tmp_path / "runs" / "other", KIND, [source])


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    product = write(tmp_path / "product")
    file = product / "weights.pdparams"
    data = file.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with raises_code("file-damaged", file):
            verify(product)
    for length in range(len(data)):
        file.write_bytes(data[:length])
        with raises_code("file-damaged", file):
            verify(product)
    file.unlink()
    with raises_code("file-damaged", file):
        verify(product)


def test_an_unlisted_file_that_would_be_read(tmp_path):
    product = write(tmp_path / "product")
    (product / "inference.json").write_text("{}")
    with raises_code("file-damaged", "inference.json"):
        verify(product)


def test_a_directory_of_others_is_read_with_one_warning(tmp_path, capfd):
    product = write(tmp_path / "product")
    (product / MANIFEST_FILE).unlink()
    assert verify(product) == {}
    assert capfd.readouterr().err.count(MANIFEST_FILE) == 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"kind": 1}', "[" * 100000, '{"kind": "a", "files": {"../x": {"size": 1}}}'],
)
def test_a_damaged_manifest(tmp_path, content):
    product = write(tmp_path / "product")
    (product / MANIFEST_FILE).write_text(content)
    with raises_code("file-damaged", MANIFEST_FILE):
        verify(product)
    with raises_code("file-damaged", MANIFEST_FILE):
        write(product)


def test_files_written_one_by_one(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    add_to_manifest(tmp_path, KIND, ["a.txt"])
    (tmp_path / "b.txt").write_text("b")
    add_to_manifest(tmp_path, KIND, ["b.txt"])
    verify(tmp_path)
    shutil.copy(tmp_path / "a.txt", tmp_path / "b.txt")
    with raises_code("file-damaged", "b.txt"):
        verify(tmp_path)
