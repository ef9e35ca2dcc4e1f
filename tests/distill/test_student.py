"""The frozen BERT, and the student that starts from its weights."""

import shutil

import numpy as np
import paddle
import pytest

from distill import student as parts
from distill.average import mean_weights
from distill.bert import LAYER, FrozenBert
from paddlenlp.transformers import ConvBertModel
from tests.helpers.errors import raises_code


@pytest.fixture(scope="module")
def teacher(repo_root):
    """A tiny BERT: 2 layers, 4 heads, width 16, 53 words."""
    return FrozenBert(str(repo_root / "tests" / "fixtures" / "bert_golden"))


@pytest.fixture
def golden(repo_root):
    """What transformers computed for it."""
    with np.load(repo_root / "tests" / "fixtures" / "bert_golden" / "states.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def student(teacher):
    """A student with random weights."""
    paddle.seed(5)
    return ConvBertModel(parts.student_config(teacher, embedding_size=8))


@pytest.fixture
def batches():
    """Random ids of three lengths."""
    random = np.random.default_rng(2)
    return [random.integers(5, 53, [40, length]) for length in (9, 12, 15)]


def test_states_equal_those_of_transformers(teacher, golden):
    states = teacher.states(paddle.to_tensor(golden["ids"]))
    real = golden["ids"] != 0
    assert len(states) == 3
    for number, state in enumerate(states):
        np.testing.assert_allclose(
            state.numpy()[real], golden[f"state_{number}"][real], rtol=0, atol=1e-5
        )


def test_windowed_is_a_convolution_with_zeros_beyond_the_ends():
    random = np.random.default_rng(0)
    x, taps = random.normal(size=[2, 6, 3]), random.random(9)
    expected = np.zeros_like(x)
    for position in range(6):
        for tap in range(9):
            if 0 <= position + tap - 4 < 6:
                expected[:, position] += taps[tap] * x[:, position + tap - 4]
    np.testing.assert_allclose(parts.windowed(x, taps), expected)


def test_taps_are_the_attention_by_distance():
    maps = np.zeros([3, 12, 12], np.float32)
    for position in range(12):  # a quarter to the word before, the rest to the word after
        maps[:, position, max(position - 1, 0)] += 0.25
        maps[:, position, min(position + 1, 11)] += 0.75
    taps = parts.average_taps([maps])
    assert taps.sum() == pytest.approx(1)
    assert taps[5] / taps[3] == pytest.approx(3)
    assert np.delete(taps, [3, 4, 5]).max() < 1e-3


def test_layers_take_over_the_teachers_weights(teacher, student, batches):
    convolutions = parts.fit_layers(teacher, student, batches)
    weights = {name: tensor.numpy() for name, tensor in student.state_dict().items()}
    for layer, heads in enumerate(convolutions):
        assert len(heads) == 2
        kept = [head for head in range(4) if head not in heads]
        rows = [head * 4 + row for head in kept for row in range(4)]
        columns = rows + [head * 4 + row for head in heads for row in range(4)]
        theirs = {
            n: teacher.weights[LAYER.format(layer) + n]
            for n in (
                "attention.self.query.weight",
                "attention.output.dense.weight",
                "output.LayerNorm.bias",
                "intermediate.dense.weight",
            )
        }
        ours = f"encoder.layers.{layer}."
        for name, expected in (
            ("self_attn.q_proj.weight", theirs["attention.self.query.weight"][rows].T),
            ("self_attn.out_proj.weight", theirs["attention.output.dense.weight"].T[columns]),
            ("norm2.bias", theirs["output.LayerNorm.bias"]),
            ("linear1.weight", theirs["intermediate.dense.weight"].T),
        ):
            np.testing.assert_array_equal(weights[ours + name], expected)


def test_a_layer_starts_close_to_the_teachers(teacher, student, batches):
    def error(model):
        ids = paddle.to_tensor(batches[0])
        x, bias = teacher.embed(ids), teacher.padding_bias(ids)
        wanted = teacher.layer(0, x, bias)[0]
        given = model.encoder.layers[0](x, model.shared(ids != 0, x.dtype))
        return float(((given - wanted) ** 2).mean() / wanted.var())

    student.eval()
    before = error(student)
    parts.fit_layers(teacher, student, batches)
    assert error(student) < 0.2 * before


def test_the_fitted_convolution_is_what_the_student_computes(teacher, student, batches):
    states = [teacher.embed(paddle.to_tensor(ids)) for ids in batches]
    bias = paddle.zeros([1, 1, 1, 1])
    attentions = [teacher.layer(0, x, bias)[1] for x in states]
    chosen = parts.fit_layers(teacher, student, batches)[0]
    fit = parts.fit_head(teacher, 0, chosen[0], states, attentions)
    expected = parts.windowed(states[0].numpy() @ fit.weight + fit.bias, fit.taps)

    student.eval()
    attention = student.encoder.layers[0].self_attn
    shared = student.shared(paddle.to_tensor(batches[0]) != 0, states[0].dtype)
    given = attention._convolve(attention.q_proj(states[0]), states[0], *shared[1:])[:, 0]
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-4)


def test_fitting_the_embeddings_brings_them_closer(teacher, student):
    parts.factorise_embeddings(teacher, student)
    losses = []
    parts.fit_embeddings(
        teacher,
        student,
        steps=150,
        seed=1,
        batch_size=256,
        learning_rate=1e-2,
        report=lambda step, loss: losses.append(loss),
    )
    assert np.mean(losses[-10:]) < 0.7 * losses[0]


def test_drawn_ids_are_valid(student):
    words, types, positions = parts.draw_ids(np.random.default_rng(0), student.config, 5000)
    assert words.shape == [1, 5000]
    assert int(words.min()) >= 0
    assert int(words.max()) == student.config.vocab_size - 1
    assert sorted(np.unique(types.numpy())) == [0, 1]
    assert int(positions.max()) < student.config.max_position_embeddings


def test_a_wrong_name_or_shape_is_an_error(student):
    with pytest.raises(ValueError, match="no parameter 'embeddings'"):
        parts.set_weights(student, {"embeddings": np.zeros(3)})


def test_an_average_has_the_mean_of_the_weights(run_script, tmp_path, tiny_checkpoint):
    from paddlenlp.transformers.checkpoint import WEIGHTS_FILE, read_weights

    other, target = tmp_path / "other", tmp_path / "average"
    shutil.copytree(tiny_checkpoint, other)
    weights = read_weights(str(tiny_checkpoint / WEIGHTS_FILE))
    paddle.save({name: array + 1 for name, array in weights.items()}, str(other / WEIGHTS_FILE))
    paths = (f"--model_path={tiny_checkpoint}", f"--model_path={other}")
    done = run_script("distill/average.py", *paths, f"--output_dir={target}")
    assert done.returncode == 0, done.stderr
    for name, array in read_weights(str(target / WEIGHTS_FILE)).items():
        np.testing.assert_allclose(array, weights[name] + 0.5, rtol=1e-6, atol=1e-6)


def test_checkpoints_of_different_shapes_are_not_averaged():
    with raises_code("weights"):
        mean_weights([{"a": np.zeros(2)}, {"a": np.zeros(3)}])
