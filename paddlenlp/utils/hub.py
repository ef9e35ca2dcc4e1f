"""Upstream's published models: their names, and fetching one of their files."""

from pathlib import Path

from paddlenlp.utils.download import fetch
from paddlenlp.utils.env import hub_url, model_home
from paddlenlp.utils.errors import UserError

# name -> folder below <hub>/paddlenlp/models/transformers
PRETRAINED_MODELS = {
    "convbert-base": "convbert/convbert-base",
    "convbert-medium-small": "convbert/convbert-medium-small",
    "convbert-small": "convbert/convbert-small",
}


def pretrained_file(name: str, filename: str) -> Path:
    """Return the cached path of one file of a published model, downloading it once.

    Args:
        name: one of `PRETRAINED_MODELS`.
        filename: "vocab.txt" or "model_state.pdparams".

    Raises:
        UserError: unknown name (lists the known ones), or the download failed.
    """
    if name not in PRETRAINED_MODELS:
        raise UserError(
            "model-name",
            f"'{name}' is neither a directory nor a published model: give a directory or one of "
            + ", ".join(PRETRAINED_MODELS),
        )
    return fetch(
        f"{hub_url()}/paddlenlp/models/transformers/{PRETRAINED_MODELS[name]}/{filename}",
        model_home() / name / filename,
        hint=f"give a directory that holds {filename} with --model_name_or_path DIR",
    )
