"""Put the official SST-2 files and the vocabulary of convbert-base into data/SST-2.

Example:
    python tools/download_sst2.py --output_dir data/SST-2

An existing file is checked and kept, so on a machine without access to the download site you can
put the files there yourself.
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from paddlenlp.datasets import GLUE_TASKS, load_dataset
from paddlenlp.utils.env import ppnlp_home
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write, ensure_writable_dir, file_hash
from paddlenlp.utils.hub import pretrained_file

TASK = GLUE_TASKS["sst-2"]
VOCABULARY = "vocab.txt"


def main(argv=None) -> None:
    """Check or download each file and list the folder."""
    parser = make_parser(__doc__)
    default = str(ROOT / "data" / "SST-2")
    parser.add_argument("--output_dir", default=default, help="folder")
    folder = ensure_writable_dir(parser.parse_args(argv).output_dir)
    for split in ("train", "dev", None):  # None: the vocabulary
        path = folder / (f"{split}.tsv" if split else VOCABULARY)
        if not path.exists():
            with open(download(split, path), "rb") as file, atomic_write(path, "wb") as copy:
                shutil.copyfileobj(file, copy)
        md5 = TASK.splits[split].md5 if split else None
        if md5 and file_hash(path, "md5") != md5:
            raise UserError(
                "data-set", f"{path} is not the official file (its MD5 is not {md5}): replace it"
            )
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def download(split: str | None, path: Path) -> Path:
    """Download a split, or the vocabulary, into the cache and return its file.

    Raises:
        UserError: the download failed.
    """
    try:
        if split is None:
            return pretrained_file("convbert-base", VOCABULARY)
        load_dataset("glue", "sst-2", splits=split)
    except UserError as error:
        raise UserError(
            "download",
            f"{path} is missing and its download failed (see the lines above): put the official "
            "file there",
        ) from error
    return ppnlp_home() / "datasets" / "glue" / "sst-2" / TASK.folder / f"{split}.tsv"


if __name__ == "__main__":
    run_main(main)
