"""The effects of words: what they must sum up to, and what hiding a word does."""

import numpy as np
import pytest

from convbert.explain.explanation import explain
from convbert.explain.words import margin, occlude
from convbert.inference.dygraph import dygraph_runner, load_classifier
from convbert.inference.exported import open_exported
from tests.helpers.errors import raises_code

TEXT = "the films was not good , a dull story"


@pytest.fixture(scope="module", name="classifier")
def _classifier(tiny_checkpoint):
    return load_classifier(str(tiny_checkpoint))


def test_margin():
    logits = np.array([[1.0, 5.0, 3.0]])
    assert margin(logits, 1) == 5 - (1 + 3) / 2
    assert margin(np.array([[0.25]]), 0) == 0.25


def test_gradients_sum_up_to_the_difference_from_the_padded_text(classifier):
    model, processor = classifier
    found = explain(model, processor, TEXT)
    ids, types = processor.collate(processor.encode([TEXT]))
    table = model.convbert.embeddings.word_embeddings.weight.numpy()
    hidden = ids.copy()
    hidden[:, 1:-1] = model.config.pad_token_id
    import paddle

    ends = model(
        None,
        paddle.to_tensor(np.repeat(types, 2, axis=0)),
        inputs_embeds=paddle.to_tensor(table[np.concatenate([hidden, ids])]),
    ).numpy()
    before, after = margin(ends, found.prediction.label_id)
    effects = [word.gradients for word in found.words]
    assert abs(after - before) > 0.05
    assert sum(effects) == pytest.approx(after - before, abs=1e-3)
    assert abs(found.completeness_error) < 1e-3
    assert (found.pad_margin, found.margin) == pytest.approx((before, after), abs=1e-5)
    assert [word.text for word in found.words] == TEXT.split()


def test_one_step_is_less_exact_than_many(classifier):
    model, processor = classifier
    one, many = (abs(explain(model, processor, TEXT, n).completeness_error) for n in (1, 32))
    assert many < one / 2


def test_occlusion_is_the_loss_of_margin_without_the_word(classifier):
    model, processor = classifier
    run = dygraph_runner(model)
    effects = dict(occlude(run, processor, TEXT))
    ids, types = processor.collate(processor.encode([TEXT]))
    tokens = processor.tokenizer.convert_ids_to_tokens(ids[0])
    without = ids.copy()
    without[0, tokens.index("not")] = processor.tokenizer.pad_token_id
    full = run(ids, types)
    target = int(full.argmax())
    expected = margin(full, target) - margin(run(without, types), target)
    assert effects["not"] == pytest.approx(expected[0], abs=1e-6)


def test_an_engine_gives_the_same_effects(classifier, tiny_export):
    model, processor = classifier
    engine, exported_processor = open_exported(str(tiny_export))
    by_engine = occlude(engine.run, exported_processor, TEXT)
    found = explain(model, processor, TEXT, steps=1)
    assert [word for word, _ in by_engine] == [word.text for word in found.words]
    np.testing.assert_allclose(
        [effect for _, effect in by_engine], [word.occlusion for word in found.words], atol=1e-4
    )


def test_pairs_and_empty_texts(classifier):
    model, processor = classifier
    found = explain(model, processor, ("good film", "bad story"), steps=1)
    assert [word.text for word in found.words] == ["good", "film", "bad", "story"]
    with raises_code("text"):
        explain(model, processor, " \u200b")
