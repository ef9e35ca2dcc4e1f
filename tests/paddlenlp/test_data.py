"""Stack, Pad, Tuple and Dict in upstream's call form."""

import numpy as np
import pytest

from paddlenlp.data import Dict, Pad, Stack, Tuple


def test_stack():
    batch = Stack(dtype="int64")([[1, 2], [3, 4], [5, 6]])
    assert batch.dtype == np.int64
    assert batch.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert Stack(axis=1)([np.zeros(2), np.ones(2)]).tolist() == [[0, 1], [0, 1]]
    assert Stack()([3, 1]).shape == (2,)


def test_stack_refuses_unequal_shapes():
    with pytest.raises(ValueError, match="same shape"):  # NumPy's words
        Stack()([[1, 2], [3]])


def test_pad_right_and_left():
    items = [[1, 2, 3], [4], [5, 6]]
    assert Pad(pad_val=9)(items).tolist() == [[1, 2, 3], [4, 9, 9], [5, 6, 9]]
    assert Pad(pad_val=9, pad_right=False)(items).tolist() == [[1, 2, 3], [9, 9, 4], [9, 5, 6]]


def test_pad_keeps_or_sets_the_dtype():
    assert Pad()([np.array([1], dtype="int32"), np.array([1, 2], dtype="int32")]).dtype == np.int32
    assert Pad(dtype="float32")([[1], [1, 2]]).dtype == np.float32


def test_pad_returns_lengths():
    batch, lengths = Pad(ret_length=True)([[1, 2], [3]])
    assert batch.tolist() == [[1, 2], [3, 0]]
    assert (lengths.tolist(), lengths.dtype) == ([2, 1], np.int64)
    assert Pad(ret_length="int32")([[1]])[1].dtype == np.int32


@pytest.mark.parametrize("axis", [1, -1])
def test_pad_along_a_later_axis(axis):
    batch = Pad(axis=axis)([np.ones((2, 3)), np.ones((2, 1))])
    assert batch.shape == (2, 2, 3)
    assert batch[1].tolist() == [[1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("batchify", [Tuple(Pad(), Stack()), Tuple([Pad(), Stack()])])
def test_tuple_applies_one_function_per_field(batchify):
    ids, labels = batchify([([1, 2], 0), ([3], 1)])
    assert ids.tolist() == [[1, 2], [3, 0]]
    assert labels.tolist() == [0, 1]


def test_tuple_is_flat():
    result = Tuple(Pad(ret_length=True), Stack())([([1, 2], 0), ([3], 1)])
    assert [array.tolist() for array in result] == [[[1, 2], [3, 0]], [2, 1], [0, 1]]


def test_tuple_counts_fields():
    with pytest.raises(ValueError, match=r"\b2\b.*\b3\b"):
        Tuple(Stack(), Stack())([(1, 2, 3)])
    with pytest.raises(ValueError, match="functions"):
        Tuple([Stack()], Stack())


def test_dict_takes_the_named_keys_in_their_order():
    batchify = Dict({"labels": Stack(), "ids": Pad(pad_val=7)})
    labels, ids = batchify(
        [{"ids": [1], "labels": 0, "x": 1}, {"ids": [2, 3], "labels": 1, "x": 2}]
    )
    assert labels.tolist() == [0, 1]
    assert ids.tolist() == [[1, 7], [2, 3]]
    with pytest.raises(KeyError):
        batchify([{"ids": [1]}])
