"""What the common parser checks for every script."""

import os

import pytest

from convbert.command.flags import make_parser
from tests.helpers.errors import raises_code


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Parse flags in a folder with an input file and a product."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.tsv").write_text("text\n")
    (tmp_path / "product").mkdir()
    for name in ("manifest.json", "weights.bin", "my.npy"):
        (tmp_path / "product" / name).write_text("{}")

    def call(*argv):
        parser = make_parser("A script.")
        for flag in ("input_file", "output_file", "output_npy", "save_results"):
            parser.add_argument(f"--{flag}")
        return parser.parse_args(argv)

    return call


@pytest.mark.parametrize(
    ("argv", "fact"),
    [
        (["--input_file=in.tsv", "--output_file=./in.tsv"], "--input_file"),
        (["--input_file=in.tsv", "--save_results=linked.tsv"], "--save_results"),
        (["--output_file=new", "--output_npy=product/../new"], "--output_npy"),
        (["--output_npy=product/weights.bin"], "weights.bin"),
    ],
)
def test_an_output_replaces_nothing_else(parse, argv, fact):
    os.symlink("in.tsv", "linked.tsv")
    with raises_code("occupied", fact):
        parse(*argv)


def test_outputs_that_are_accepted(parse):
    parse("--input_file=in.tsv", "--output_file=product/new.json", "--output_npy=product/my.npy")
    parse("--output_file=/dev/null", "--output_npy=/dev/null")
    parse("--input_file=-", "--output_file=new")
