"""The cases of tests/fixtures/model_golden.npz: small versions of the sizes, and their batches."""

from alignment.cases import Case

COLUMNS = ("hidden_size", "embedding_size", "intermediate_size", "num_groups")
TINY_SIZES = {
    name: {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 60,
        "max_position_embeddings": 40,
        **dict(zip(COLUMNS, sizes)),
    }
    for name, sizes in {
        "tiny-base": (16, 16, 40, 1),
        "tiny-medium-small": (24, 12, 40, 2),
        "tiny-small": (16, 12, 32, 1),
    }.items()
}
TINY_CASES = [
    Case(batch, length, form)
    for batch, length in ((1, 1), (3, 9), (2, 40))
    for form in ("plain", "pairs")
]
GRADIENT_CASE = Case(3, 9, "pairs")
