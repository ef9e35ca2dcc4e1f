"""--help: flags below headings, and examples that the script accepts."""

import argparse
import re
import runpy
import shlex

import pytest

from convbert.command.flags import HEADINGS, make_parser
from tests.command.test_entry_points import SCRIPTS
from tests.conftest import REPO_ROOT

INFER = "deploy/inference_python/infer.py"
WITH_EXAMPLES = [*SCRIPTS, *(f"distill/{name}.py" for name in ("bundle", "data", "student"))]
EXAMPLE = re.compile(r"^ {4}(?:python|bash) (\S+\.(?:py|sh))((?: \S+)*)", re.M)


class _Parses(Exception):
    """Raised in place of parsing the command line."""


@pytest.fixture
def parser_of(monkeypatch):
    """A function from a script to the parser that its `main` makes."""

    def get(script: str) -> argparse.ArgumentParser:
        monkeypatch.syspath_prepend(REPO_ROOT / script.rpartition("/")[0])
        main = runpy.run_path(str(REPO_ROOT / script))["main"]
        found = []

        def stop(parser, *args):
            found.append(parser)
            raise _Parses

        with monkeypatch.context() as patch:
            patch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
            with pytest.raises(_Parses):
                main([])
        return found[0]

    return get


@pytest.mark.parametrize("script", WITH_EXAMPLES)
def test_the_examples_in_the_help_are_accepted(parser_of, script):
    parser = parser_of(script)
    text = re.sub(r"\\\n +", "", parser.format_help()).replace(" ...", "")
    examples = EXAMPLE.findall(text)
    assert examples
    for name, arguments in examples:
        assert (REPO_ROOT / name).is_file()
        if name == script:
            parser.parse_known_args(shlex.split(arguments))


def test_no_flag_has_two_headings():
    flags = " ".join(HEADINGS.values()).split()
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("script", ["train.py", "tools/predict.py", INFER])
def test_scripts_of_a_model_have_no_flag_without_a_heading(parser_of, script):
    text = parser_of(script).format_help()
    assert re.search(r"\noptions:\n  -h, --help [^\n]*\n\ninput:\n", text)


def test_the_help_of_a_flag_shows_its_default():
    parser = make_parser("Do it.")
    parser.add_argument("--speed", default=0, help="how fast")
    parser.add_argument("--parts", default=[1, 2], help="which (default: all)")
    parser.add_argument("--model", help="a model")
    parser.add_argument("--wait", action="store_true", default=False, help="not now")
    text = parser.format_help()
    assert "how fast (default: 0)" in text
    assert text.count("default") == 2
