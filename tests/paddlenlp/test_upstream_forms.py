"""Scripts in the style of upstream's examples run unchanged, and 2.8's arguments work."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddlenlp import transformers
from paddlenlp.datasets import load_dataset
from paddlenlp.transformers import (
    ConvBertForMaskedLM,
    ConvBertForMultipleChoice,
    ConvBertForQuestionAnswering,
    ConvBertForSequenceClassification,
    ConvBertForTokenClassification,
    ConvBertModel,
    ConvBertTokenizer,
)
from tests.helpers.models import IDS

SIZES = {
    "vocab_size": 53,
    "embedding_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}
GLUE_SCRIPT = """
import sys
from functools import partial

import paddle
from paddle.io import BatchSampler, DataLoader

from paddlenlp.data import Pad, Stack, Tuple
from paddlenlp.datasets import load_dataset
from paddlenlp.metrics import AccuracyAndF1, Mcc, PearsonAndSpearman
from paddlenlp.transformers import ConvBertForSequenceClassification, ConvBertTokenizer
from paddlenlp.transformers import LinearDecayWithWarmup
from paddlenlp.utils.log import logger

checkpoint, data_dir, target = sys.argv[1:]
print(list(ConvBertTokenizer.pretrained_init_configuration.keys()))


def convert_example(example, tokenizer, label_list, max_seq_length=64, is_test=False):
    encoded = tokenizer(example["sentence"], max_seq_len=max_seq_length)
    return encoded["input_ids"], encoded["token_type_ids"], example["labels"]


train_ds = load_dataset("glue", "sst-2", splits="train", data_dir=data_dir)
tokenizer = ConvBertTokenizer.from_pretrained(checkpoint)
tokenizer(["words to start the threads of the tokenizer"] * 64)
train_ds = train_ds.map(
    partial(convert_example, tokenizer=tokenizer, label_list=train_ds.label_list), lazy=True
)
batchify_fn = lambda samples, fn=Tuple(
    Pad(axis=0, pad_val=tokenizer.pad_token_id),
    Pad(axis=0, pad_val=tokenizer.pad_token_type_id),
    Stack(dtype="int64"),
): fn(samples)
loader = DataLoader(
    dataset=train_ds,
    batch_sampler=BatchSampler(train_ds, batch_size=4, shuffle=True),
    collate_fn=batchify_fn,
    num_workers=2,
    return_list=True,
)
model = ConvBertForSequenceClassification.from_pretrained(
    checkpoint, num_classes=len(train_ds.label_list)
)
model = paddle.DataParallel(model)
scheduler = LinearDecayWithWarmup(1e-4, 10, 0.1)
optimizer = paddle.optimizer.AdamW(scheduler, parameters=model.parameters())
criterion, metric = paddle.nn.CrossEntropyLoss(), paddle.metric.Accuracy()
for input_ids, segment_ids, labels in loader:
    logits = model(input_ids, segment_ids)
    loss = criterion(logits, labels)
    metric.update(metric.compute(logits, labels))
    loss.backward()
    optimizer.step()
    scheduler.step()
    optimizer.clear_grad()
logger.info("done")
inner = model._layers if isinstance(model, paddle.DataParallel) else model
inner.save_pretrained(target)
tokenizer.save_pretrained(target)
inner.eval()
static = paddle.jit.to_static(
    inner,
    input_spec=[
        paddle.static.InputSpec([None, None], "int64"),
        paddle.static.InputSpec([None, None], "int64"),
    ],
)
paddle.jit.save(static, target + "/inference")
print("loss", float(loss))
"""


def test_a_fine_tuning_script(tiny_checkpoint, repo_root, tmp_path):
    script = tmp_path / "run_glue.py"
    script.write_text(GLUE_SCRIPT)
    env = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    data = repo_root / "tests" / "fixtures" / "glue"
    arguments = [str(tiny_checkpoint), str(data), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**env, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "convbert-base" in done.stdout
    assert "fork" not in done.stderr
    assert (tmp_path / "out" / "inference.pdiparams").is_file()
    assert ConvBertTokenizer.from_pretrained(tmp_path / "out")("good")["input_ids"]


def _encode(tokenizer, queue):
    queue.put(tokenizer(["good film", "dull plot"] * 50)["input_ids"][0])


@pytest.mark.parametrize("value", ["true", "false", None])
def test_a_forked_process_uses_the_tokenizer_of_its_parent(tiny_vocab, monkeypatch, value):
    if value is None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    else:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", value)
    tokenizer = ConvBertTokenizer(tiny_vocab)
    tokenizer([f"word{number} good" for number in range(500)])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_encode, args=(tokenizer, queue))
    child.start()
    assert queue.get(timeout=60) == tokenizer("good film")["input_ids"]
    child.join(timeout=60)
    assert child.exitcode == 0
    assert os.environ.get("TOKENIZERS_PARALLELISM") == value


def test_models_from_keywords_and_around_a_body():
    body = ConvBertModel(**SIZES)
    model = ConvBertForSequenceClassification(body, num_classes=3, dropout=0.2)
    assert model.convbert is body
    assert (model.config.num_classes, model.config.classifier_dropout) == (3, 0.2)
    assert model(paddle.to_tensor(IDS)).shape == [2, 3]
    assert ConvBertForTokenClassification(body, 4).config.num_classes == 4
    assert ConvBertForSequenceClassification(config=body.config).config == body.config


@pytest.fixture(scope="module")
def body():
    paddle.seed(5)
    return ConvBertModel(**SIZES, initializer_range=0.3)


def around(cls, body, **options):
    model = cls(body, **options)
    model.eval()
    return model


LABELS = {
    ConvBertForSequenceClassification: {"labels": [1, 0]},
    ConvBertForTokenClassification: {"labels": [[0, 1, 1, 0, -100], [1, 0, -100, -100, -100]]},
    ConvBertForMaskedLM: {"labels": [[-100, 5, 6, -100, -100], [-100, 8, -100, -100, -100]]},
    ConvBertForQuestionAnswering: {"start_positions": [1, 0], "end_positions": [3, 1]},
}


@pytest.mark.parametrize("cls", LABELS, ids=lambda cls: cls.__name__)
def test_labels_give_the_loss_first(body, cls):
    model, ids = around(cls, body), paddle.to_tensor(IDS)
    labels = {name: paddle.to_tensor(value) for name, value in LABELS[cls].items()}
    plain = model(ids)
    logits = plain if isinstance(plain, tuple) else (plain,)
    loss, *rest = model(ids, **labels)
    found = model(ids, **labels, output_hidden_states=True, return_dict=True)
    classes = [each.reshape([-1, each.shape[-1]]) for each in logits]
    expected = np.mean(
        [
            float(F.cross_entropy(each, label.flatten(), ignore_index=-100))
            for each, label in zip(classes, labels.values())
        ]
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    for ours, again in zip(logits, rest):
        np.testing.assert_array_equal(ours.numpy(), again.numpy())
    assert float(found.loss) == pytest.approx(float(loss), rel=1e-6)
    assert found[0] is found["loss"]
    assert len(found.hidden_states) == SIZES["num_hidden_layers"] + 1
    with pytest.raises(AttributeError):
        _ = found.attentions


def test_multiple_choice_with_labels(body):
    model = around(ConvBertForMultipleChoice, body)
    loss, logits = model(paddle.to_tensor([IDS]), labels=paddle.to_tensor([1]))
    expected = F.cross_entropy(logits, paddle.to_tensor([1]))
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_a_regressor_has_the_squared_error(body):
    model = around(ConvBertForSequenceClassification, body, num_classes=1)
    loss, scores = model(paddle.to_tensor(IDS), labels=paddle.to_tensor([0.5, 2.0]))
    assert float(loss) == pytest.approx(
        float(((scores.numpy().flatten() - [0.5, 2]) ** 2).mean()), rel=1e-5
    )


def test_embeddings_instead_of_ids(body):
    ids = paddle.to_tensor([IDS[0]])
    words = body.embeddings.word_embeddings(ids)
    body.eval()
    np.testing.assert_allclose(body(None, inputs_embeds=words).numpy(), body(ids).numpy())
    last, states = body(ids, output_hidden_states=True)
    named = body(ids, output_hidden_states=True, return_dict=True)
    np.testing.assert_array_equal(named.last_hidden_state.numpy(), last.numpy())
    assert len(named.hidden_states) == len(states)


def test_attention_weights_are_refused(body):
    with pytest.raises(ValueError, match="output_attentions"):
        body(paddle.to_tensor(IDS), output_attentions=True)


def test_a_missing_name_says_where_to_look():
    with pytest.raises(ImportError, match=r"docs/upstream\.md"):
        from paddlenlp.transformers import BertModel  # noqa: F401
    assert not hasattr(transformers, "no_such_function")


@pytest.fixture
def tokenizer(tiny_vocab):
    return ConvBertTokenizer(tiny_vocab)


def test_keywords_of_both_versions(tokenizer):
    old = tokenizer("good film", max_seq_len=8, pad_to_max_seq_len=True)
    new = tokenizer("good film", max_length=8, padding="max_length", truncation=True)
    assert old == new
    rows = tokenizer(["good film", "dull"], padding=True, return_tensors="np")
    assert rows["input_ids"].shape == (2, 4)
    tensors = tokenizer(["good film", "dull"], padding=True, return_tensors="pd")
    np.testing.assert_array_equal(tensors["input_ids"].numpy(), rows["input_ids"])
    assert len(tokenizer("good " * 600, truncation=False)["input_ids"]) == 602
    assert len(tokenizer("good " * 600)["input_ids"]) == 512


def test_a_data_set_from_a_reading_function():
    def read(data_path, skip=0):
        yield from [{"text": data_path, "label": number} for number in range(skip, 3)]

    data = load_dataset(read, data_path="here", skip=1, lazy=False)
    assert list(data) == [{"text": "here", "label": 1}, {"text": "here", "label": 2}]
    with pytest.raises(ValueError, match=r"docs/upstream\.md"):
        load_dataset(read, data_path="here", lazy=True)
    with pytest.raises(ValueError, match=r"docs/upstream\.md"):
        load_dataset("glue", "sst-2", data_files="train.tsv")
    with pytest.raises(TypeError, match="split"):
        load_dataset("glue", "sst-2", split="train")


def test_words_are_joined(tokenizer):
    words = [["good", "films", "!"], ["bad"]]
    rows = tokenizer(words, is_split_into_words=True)
    assert rows == tokenizer(["good films !", "bad"])
    assert tokenizer(words[0], is_split_into_words=True) == tokenizer("good films !")
    pairs = tokenizer(words, [["dull"], ["a", "plot"]], is_split_into_words=True)
    assert pairs == tokenizer(["good films !", "bad"], ["dull", "a plot"])


@pytest.mark.parametrize(("stride", "starts"), [(3, [0, 3, 6]), (4, [0, 4, 8]), (99, [0, 6])])
def test_windows_over_the_second_text(tokenizer, stride, starts):
    question, context = "a film", "the good bad fine dull awful story was not never plot ."
    whole = tokenizer(context, add_special_tokens=False)["input_ids"]
    rows = tokenizer(
        [question, question],
        [context, "plot"],
        max_seq_len=11,  # 6 are left for the context
        stride=stride,
        truncation="only_second",
        return_offsets_mapping=True,
    )
    assert rows["overflow_to_sample"] == [0] * len(starts) + [1]
    assert rows["input_ids"][-1] == tokenizer(question, "plot")["input_ids"]
    start = tokenizer.build_inputs_with_special_tokens
    first = tokenizer(question, add_special_tokens=False)["input_ids"]
    for row, offsets, begin in zip(rows["input_ids"], rows["offset_mapping"], starts):
        assert row == start(first, whole[begin : begin + 6])
        texts = [context[slice(*pair)] for pair in offsets[4:-1]]
        assert texts == context.split()[begin : begin + 6]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((["good"],), {"return_overflowing_tokens": True}),
        (("good", "film"), {"stride": 2}),
        ((["good"],), {"stride": 2}),
        ((["good"], ["film"]), {"truncation": "only_second"}),
        ((["good"],), {"truncation": "only_frist"}),
        ((["good"],), {"padding": "longst"}),
        ((["good"],), {"is_split_into_words": True, "return_offsets_mapping": True}),
    ],
)
def test_what_is_not_supported_names_the_page(tokenizer, arguments, options):
    with pytest.raises(ValueError, match=r"docs/upstream\.md"):
        tokenizer(*arguments, **options)


def test_offsets_point_into_the_text(tokenizer):
    text = "Good  films"
    row = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    parts = [text[start:end] for start, end in row["offset_mapping"]]
    assert parts == ["", "Good", "film", "s", ""]
    assert row["special_tokens_mask"] == [1, 0, 0, 0, 1]
    pair = tokenizer("good film", "bad plot", return_offsets_mapping=True, max_seq_len=6)
    assert len(pair["offset_mapping"]) == len(pair["input_ids"]) == 6
    assert pair["offset_mapping"][1] == (0, 4)


def test_ids_without_special_tokens_and_back(tokenizer):
    pieces = tokenizer("good films", add_special_tokens=False)["input_ids"]
    assert (
        tokenizer.build_inputs_with_special_tokens(pieces) == tokenizer("good films")["input_ids"]
    )
    both = tokenizer("good films", "bad")
    second = tokenizer("bad", add_special_tokens=False)["input_ids"]
    assert tokenizer.build_inputs_with_special_tokens(pieces, second) == both["input_ids"]
    types = tokenizer.create_token_type_ids_from_sequences(pieces, second)
    assert types == both["token_type_ids"]
    assert tokenizer.decode(both["input_ids"], skip_special_tokens=True) == "good films bad"
    assert tokenizer.convert_tokens_to_ids("good") == tokenizer.vocab["good"]
    assert tokenizer.convert_ids_to_tokens(2) == "[CLS]"
    assert len(tokenizer) == tokenizer.vocab_size == len(tokenizer.get_vocab())


def test_class_attributes():
    for cls in (ConvBertTokenizer, ConvBertModel, ConvBertForSequenceClassification):
        assert "convbert-base" in cls.pretrained_init_configuration
        assert cls.resource_files_names
    assert ConvBertTokenizer.resource_files_names == {"vocab_file": "vocab.txt"}
    assert ConvBertModel.resource_files_names == {"model_state": "model_state.pdparams"}
    assert ConvBertModel.model_config_file == "model_config.json"
