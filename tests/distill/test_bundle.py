"""The mean of checkpoints in half precision; see also tests/inference/test_default_model.py."""

import shutil

import numpy as np
import paddle

from distill import bundle
from paddlenlp.transformers.checkpoint import WEIGHTS_FILE, read_weights
from tests.helpers.errors import raises_code


def changed_copy(checkpoint, target, change):
    """A copy of a checkpoint with ``change`` applied to each array."""
    shutil.copytree(checkpoint, target)
    weights = read_weights(str(checkpoint / WEIGHTS_FILE))
    arrays = {name: change(array) for name, array in weights.items()}
    paddle.save(arrays, str(target / WEIGHTS_FILE))
    return target


def test_a_bundle_has_the_mean_of_the_weights(call_script, tmp_path, tiny_checkpoint):
    other = changed_copy(tiny_checkpoint, tmp_path / "other", lambda array: array + 1)
    dev = tmp_path / "dev.tsv"
    dev.write_text("sentence\tlabel\na good film\t1\na bad film\t0\n")
    flags = ("--output_dir", tmp_path / "bundle", "--dev_file", dev)
    done = call_script("distill/bundle.py", "--model_path", tiny_checkpoint, other, *flags)
    assert done.returncode == 0, done.stderr
    assert "2 of 2" in done.stdout  # labels that did not change
    weights = read_weights(str(tiny_checkpoint / WEIGHTS_FILE))
    for name, array in read_weights(str(tmp_path / "bundle" / WEIGHTS_FILE)).items():
        np.testing.assert_array_equal(array, np.float16(np.float32(weights[name] + 0.5)))


def test_checkpoints_of_different_shapes_have_no_mean(tmp_path, tiny_checkpoint):
    other = changed_copy(tiny_checkpoint, tmp_path / "other", lambda array: array[:1])
    with raises_code("weights"):
        bundle.mean_weights([tiny_checkpoint, other])
