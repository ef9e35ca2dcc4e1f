"""Shared fixtures: tiny models made once, real processes, the real data if present."""

import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from convbert.command.machine import set_cpu_environment
from convbert.command.start import run_main
from paddlenlp.utils.products import MANIFEST_FILE
from tests.helpers.local_server import http_server  # noqa: F401 (a fixture)

REPO_ROOT = Path(__file__).resolve().parents[1]
set_cpu_environment()
# A shell starts what it runs in the background with Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Fail a test when one of its threads fails: pytest only warns."""
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnhandledThreadExceptionWarning")


TINY_VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] . , ! ' a an the it is was this that with of and not "
    "movie film story script problem things most these good great fine bad dull awful "
    "##s ##ing ##ed un ##able i we you act plot very never"
)
TINY_WORDS = TINY_VOCABULARY.split()


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Root of the checkout."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real SST-2 and vocabulary beside the checkout; the test is skipped without them."""
    folder = REPO_ROOT.parent / "shared" / "data"
    if not (folder / "SST-2" / "dev.tsv").is_file():
        pytest.skip("the real SST-2 is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def tiny_vocab(tmp_path_factory) -> Path:
    """A vocabulary of some fifty words."""
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(TINY_WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_config():
    """A ConvBERT of two layers with embedding projection and grouped feed-forward layers."""
    from paddlenlp.transformers import ConvBertConfig

    return ConvBertConfig(
        vocab_size=len(TINY_WORDS),
        embedding_size=12,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        num_groups=2,
        max_position_embeddings=64,
        initializer_range=0.3,  # answers far from 0.5
    )


def without_manifest(directory: Path) -> Path:
    """Remove the checksums of a product: tests damage copies to reach the readers behind them."""
    (directory / MANIFEST_FILE).unlink()
    return directory


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, tiny_config, tiny_vocab) -> Path:
    """A checkpoint directory with random weights, tokenizer and label names."""
    import paddle

    from paddlenlp.transformers import ConvBertForSequenceClassification, ConvBertTokenizer

    paddle.seed(7)
    directory = tmp_path_factory.mktemp("checkpoint") / "best.pdparams"
    ConvBertForSequenceClassification(tiny_config).save_pretrained(str(directory))
    tokenizer = ConvBertTokenizer(str(tiny_vocab), label_names=["negative", "positive"])
    tokenizer.save_pretrained(str(directory))
    return without_manifest(directory)


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory, tiny_checkpoint) -> Path:
    """The exported program of `tiny_checkpoint`."""
    from convbert.inference.export import export_checkpoint

    directory = tmp_path_factory.mktemp("export") / "convbert_infer"
    export_checkpoint(str(tiny_checkpoint), str(directory))
    return without_manifest(directory)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory, tiny_export) -> Path:
    """`tiny_export` converted for serving, which must be installed."""
    from convbert.serving.served_model import convert

    folder = tmp_path_factory.mktemp("served")
    convert(str(tiny_export), str(folder / "server"), str(folder / "client"))
    return folder / "server"


@pytest.fixture(scope="session", autouse=True)
def cache_of_compiled_models(tmp_path_factory):
    """Keep OpenVINO's compiled models out of the user's cache, and share them between tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run_script(tmp_path):
    """Return ``run(*args)``: run an entry script of the checkout as a user would, elsewhere.

    The finished process has ``returncode``, ``stdout`` and ``stderr`` (text). Give ``cwd`` (default
    a temporary directory), ``env`` (extra variables), ``stdin`` (text), ``timeout`` (seconds).
    """

    def run(script, *args, cwd=tmp_path, **options):
        return run_python(REPO_ROOT / script, *args, cwd=cwd, **options)

    return run


def run_python(*args, cwd=REPO_ROOT, env=None, stdin=None, timeout=300):
    """Run Python to its end, by default in the checkout; the options are those of `run_script`."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=str(cwd),
        env={**os.environ, **(env or {})},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def start_script(script, *args, output=subprocess.DEVNULL, **options):
    """Start an entry script of the checkout; both its streams go to ``output``."""
    command = [sys.executable, REPO_ROOT / script, *args]
    options = {"stdout": output, "stderr": output, "text": True, **options}
    return subprocess.Popen(list(map(str, command)), **options)


@pytest.fixture
def call_script(tmp_path, monkeypatch, capfd):
    """Return ``call(*args)``: `run_script` in this process, without the seconds that imports take.

    Not for what a process sets for itself: signals, threads, memory, encodings.
    """

    def call(*args, cwd=None, env=None, stdin=""):
        script, *rest = [str(arg) for arg in args]
        path = REPO_ROOT / script
        name = ".".join(path.relative_to(REPO_ROOT).with_suffix("").parts)
        capfd.readouterr()
        with monkeypatch.context() as patch, mock.patch.dict(os.environ, env or {}):
            patch.syspath_prepend(path.parent)
            main = importlib.import_module(name).main
            patch.chdir(cwd or tmp_path)
            patch.setattr(sys, "argv", [script, *rest])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            with pytest.raises(SystemExit) as ended:
                run_main(main)
        return subprocess.CompletedProcess(args, ended.value.code, *capfd.readouterr())

    handler = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, handler)
