"""Arrays out of pickles: what is read, and what is refused without being run or built."""

import os
import pickle
import resource
import struct
from collections import OrderedDict

import numpy as np
import pytest

from paddlenlp.utils import pickled_arrays
from paddlenlp.utils.pickled_arrays import UnsafePickle, load_file, load_npy_dict
from tests.helpers.pickles import Call

STATE = OrderedDict(
    a=np.arange(6, dtype=np.float32).reshape(2, 3),
    b=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    c=np.arange(3, dtype=">i4"),
    d=np.array(7),
    e={"inner": "name"},
)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path, protocol):
    (tmp_path / "x").write_bytes(pickle.dumps(STATE, protocol))
    found = load_file(tmp_path / "x")
    assert list(found) == list(STATE)
    for name, expected in STATE.items():
        np.testing.assert_array_equal(found[name], expected)


GIANT = struct.pack("<Q", 1 << 40)
HOSTILE = {
    "a call": pickle.dumps(Call(os.mkdir, "made")),
    "a call in a dict": pickle.dumps({"a": Call(os.mkdir, "made")}),
    "a large memo slot": b"\x80\x02Nr\xff\xff\xff\x0f.",
    "claimed bytes": b"\x80\x04\x8e" + GIANT + b".",
    "claimed bytearray": b"\x80\x05\x96" + GIANT + b".",
    "a claimed frame": b"\x80\x04\x95" + GIANT + b".",
    "keys of nested tuples": b"\x80\x02})" + b"2\x86" * 60 + b"Ns.",
    "nested lists": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "too many instructions": b"\x80\x02" + b"N0" * 600_000 + b"N.",
    "no mark": b"\x80\x02Nu.",
    "an empty stack": b"\x80\x02R.",
    "attributes of a class": b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aNsb.",
    "nothing": b"",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_is_run_and_little_is_allocated(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(HOSTILE[case])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = load_file(tmp_path / "x")
    except UnsafePickle:
        found = None
    assert not isinstance(found, dict)
    assert os.listdir(tmp_path) == ["x"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KB


def test_repeated_content_is_refused(tmp_path):
    content = np.zeros(1000, np.uint8).tobytes()

    class Same:
        def __reduce__(self):
            return np.core.numeric._frombuffer, (content, np.dtype("u1"), (1000,), "C")

    (tmp_path / "x").write_bytes(pickle.dumps({str(n): Same() for n in range(50)}, 4))
    with pytest.raises(UnsafePickle):
        load_file(tmp_path / "x")


def test_npy_files_of_reprod_log(tmp_path):
    np.save(tmp_path / "x.npy", {"prob": np.array([0.5]), "label_id": np.array([1])})
    found = load_npy_dict(tmp_path / "x.npy")
    assert {name: array.tolist() for name, array in found.items()} == {
        "prob": [0.5],
        "label_id": [1],
    }


@pytest.mark.parametrize("content", [np.arange(3), {"a": Call(os.mkdir, "made")}, [1, 2], "text"])
def test_other_npy_files_are_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.array(content, dtype=None if isinstance(content, np.ndarray) else object))
    with pytest.raises(UnsafePickle):
        load_npy_dict("x.npy")
    assert os.listdir() == ["x.npy"]


def test_the_bound_is_far_from_real_checkpoints():
    state = {f"layer.{n}.weight": np.zeros(2, np.float32) for n in range(1000)}
    data = pickle.dumps(state, protocol=4)
    assert sum(1 for _ in pickled_arrays.pickletools.genops(data)) < 0.1 * (
        pickled_arrays.MAX_INSTRUCTIONS
    )
