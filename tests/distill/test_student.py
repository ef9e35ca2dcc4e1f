"""The frozen BERT, the first weights of a student, and the command that makes and trains one."""

import re
import shutil

import numpy as np
import paddle
import pytest

from distill import first_weights, student
from distill.bert import read_bert
from paddlenlp.transformers import ConvBertModel


@pytest.fixture(scope="module")
def folder(repo_root):
    """A tiny BERT: 2 layers, 4 heads, width 16, 53 words; transformers computed its states."""
    return repo_root / "tests" / "fixtures" / "bert_golden"


@pytest.fixture(scope="module")
def teacher(folder):
    return read_bert(str(folder))


@pytest.fixture(scope="module")
def batches():
    """Random ids of three lengths."""
    random = np.random.default_rng(2)
    return [random.integers(5, 53, [40, length]) for length in (9, 12, 15)]


def test_states_equal_those_of_transformers(teacher, folder):
    with np.load(folder / "states.npz") as arrays:
        golden = dict(arrays)
    states = teacher(paddle.to_tensor(golden["ids"]), output_hidden_states=True)[1]
    real = golden["ids"] != 0
    assert len(states) == 3
    for number, state in enumerate(states):
        expected = golden[f"state_{number}"][real]
        np.testing.assert_allclose(state.numpy()[real], expected, rtol=0, atol=1e-5)


def test_windowed_is_a_convolution_with_zeros_beyond_the_ends():
    random = np.random.default_rng(0)
    x, taps = random.normal(size=[2, 6, 3]), random.random(9)
    expected = np.zeros_like(x)
    for position in range(6):
        for tap in range(9):
            if 0 <= position + tap - 4 < 6:
                expected[:, position] += taps[tap] * x[:, position + tap - 4]
    np.testing.assert_allclose(first_weights.windowed(x, taps), expected)


def test_taps_are_the_attention_by_distance():
    maps = np.zeros([3, 12, 12], np.float32)
    for position in range(12):  # a quarter to the word before, the rest to the word after
        maps[:, position, max(position - 1, 0)] += 0.25
        maps[:, position, min(position + 1, 11)] += 0.75
    taps = first_weights.average_taps([maps])
    assert taps.sum() == pytest.approx(1)
    assert taps[5] / taps[3] == pytest.approx(3)
    assert np.delete(taps, [3, 4, 5]).max() < 1e-3


@pytest.fixture(scope="module")
def layer_inputs(teacher, batches):
    """What the first layer gets."""
    ids = [paddle.to_tensor(batch) for batch in batches]
    return [teacher.embeddings(batch, paddle.zeros_like(batch)) for batch in ids]


@pytest.fixture(scope="module")
def fits(teacher, layer_inputs):
    """Every head of the first layer as a convolution."""
    return first_weights.fit_heads(teacher.encoder.layers[0].self_attn, layer_inputs)


@pytest.fixture(scope="module")
def model(teacher, batches):
    """A student before its embeddings are fitted."""
    return first_weights.first_student(teacher, batches)


@pytest.fixture(scope="module")
def best(fits):
    """The two heads with the smallest error."""
    return sorted(np.argsort([fit.error for fit in fits])[:2].tolist())


def test_a_layer_takes_over_the_teachers_weights(teacher, fits):
    layer = teacher.encoder.layers[0]
    weights = first_weights.layer_weights(layer, fits, [1, 2])
    theirs = {name: tensor.numpy() for name, tensor in layer.state_dict().items()}
    kept, replaced = [0, 1, 2, 3, 12, 13, 14, 15], [4, 5, 6, 7, 8, 9, 10, 11]
    for name, expected in (
        ("self_attn.q_proj.weight", theirs["self_attn.q_proj.weight"][:, kept]),
        ("self_attn.v_proj.bias", theirs["self_attn.v_proj.bias"][kept]),
        ("self_attn.out_proj.weight", theirs["self_attn.out_proj.weight"][kept + replaced]),
        ("norm2.bias", theirs["norm2.bias"]),
        ("linear1.weight", theirs["linear1.weight"]),
    ):
        np.testing.assert_array_equal(weights[name], expected)


def test_the_heads_with_the_smallest_error_become_convolutions(teacher, batches, best, capsys):
    first_weights.first_layers(teacher, batches)
    assert str(best) in capsys.readouterr().out


def test_a_layer_starts_close_to_the_teachers(teacher, model, batches, layer_inputs):
    ids, x = paddle.to_tensor(batches[0]), layer_inputs[0]
    wanted = teacher.encoder.layers[0](x, first_weights.NO_PADDING)

    def error(student):
        given = student.encoder.layers[0](x, student.shared(ids != 0, x.dtype))
        return float(((given - wanted) ** 2).mean() / wanted.var())

    random = ConvBertModel(model.config)
    random.eval()
    assert error(model) < 0.2 * error(random)


def test_the_student_computes_the_fitted_convolution(model, batches, layer_inputs, fits, best):
    ids, x, fit = paddle.to_tensor(batches[0]), layer_inputs[0], fits[best[0]]
    expected = first_weights.windowed(x.numpy() @ fit.weight + fit.bias, fit.taps)
    attention = model.encoder.layers[0].self_attn
    shared = model.shared(ids != 0, x.dtype)
    given = attention._convolve(attention.q_proj(x), x, *shared[1:])[:, 0]
    np.testing.assert_allclose(given.numpy(), expected, atol=1e-4)


def test_fitting_the_embeddings_brings_them_closer(teacher, batches, monkeypatch):
    fitted = first_weights.first_student(teacher, batches)
    for name, value in {"FIT_STEPS": 150, "FIT_BATCH": 256, "FIT_LEARNING_RATE": 1e-2}.items():
        monkeypatch.setattr(first_weights, name, value)
    losses = first_weights.fit_embeddings(teacher, fitted, seed=1)
    assert np.mean(losses[-10:]) < 0.7 * losses[0]


def test_from_a_teacher_to_a_student(folder, repo_root, tiny_vocab, tmp_path, monkeypatch, capsys):
    bert = shutil.copytree(folder, tmp_path / "bert")
    shutil.copy(tiny_vocab, bert / "vocab.txt")
    reviews = (repo_root / "data" / "reviews" / "train.tsv").read_text("utf-8")
    rows = [line for line in reviews.splitlines() if len(line.split()) > 3]
    (tmp_path / "train.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n", "utf-8")
    (tmp_path / "more.txt").write_text("the film is good\n\na dull story\n")
    for module, name, value in (
        (first_weights, "FIT_STEPS", 20),
        (student, "BATCH_SIZE", 8),
        (student, "LOGGING_STEPS", 1),
    ):
        monkeypatch.setattr(module, name, value)
    flags = {
        "teacher": bert,
        "data_dir": tmp_path,
        "input_file": tmp_path / "more.txt",
        "output_dir": tmp_path / "student",
        "max_steps": 40,
        "cpu_threads": 1,
    }
    student.main([f"--{name}={value}" for name, value in flags.items()])
    printed = capsys.readouterr().out
    assert re.search(rf"\b{len(rows) + 2}\b", printed)
    losses = list(map(float, re.findall(r"^step \d+/40 loss ([\d.]+)", printed, re.M)))
    assert len(losses) == 40
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert ConvBertModel.from_pretrained(str(tmp_path / "student")).config.embedding_size == 5


def test_hidden_loss_leaves_padding_out():
    random = np.random.default_rng(4)
    ours, theirs = (
        [paddle.to_tensor(random.normal(size=[2, 3, 4]).astype("float32")) for _ in range(2)]
        for _ in range(2)
    )
    mask = paddle.to_tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    real = mask.numpy().astype(bool)
    expected = sum(np.mean((a.numpy() - b.numpy())[real] ** 2) for a, b in zip(ours, theirs))
    assert float(student.hidden_loss(ours, theirs, mask)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="shorter|longer"):
        student.hidden_loss(ours[:1], theirs, mask)
