"""Write one HTML page about a classifier: curves, confusion, calibration, mistakes, lengths.

Example:
    python tools/report.py runs/reviews --input_file dev.csv --text_column review

MODEL is the --output_dir of a training run or a checkpoint directory; the default is the bundled
model. The page is self-contained. --json writes the same numbers, for a model card.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import int_at_least, make_parser
from convbert.command.start import run_main, start_paddle
from convbert.inference import evaluation
from convbert.inference import report_page as html
from convbert.inference.default_model import default_checkpoint
from convbert.inference.engines import EngineOptions
from convbert.inference.exported import open_exported
from convbert.text.reading import Row, read_table, with_label_ids
from convbert.training.records import confusion, draw_curve
from convbert.training.run_folder import (
    ARGS_FILE,
    BEST_DIR,
    LOG_FILE,
    REPORT_FILE,
    SUMMARY_FILE,
    read_records,
)
from paddlenlp.transformers.checkpoint import read_json
from paddlenlp.utils.errors import UserError
from paddlenlp.utils.files import atomic_write, output_json

CALIBRATION = """\
Expected calibration error {expected_calibration_error:.4f}, in 10 intervals of confidence. After \
temperature scaling it is {error_after_temperature:.4f}; each half of the texts is scaled with the \
temperature of the other half. The temperature of all texts is {temperature:.2f}."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__, heading="engine")
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="training run or checkpoint directory")
    add("--input_file", required=True, help="labelled texts: .csv, .tsv, .jsonl or .parquet")
    add("--text_column", metavar="NAME", help="column of the texts (default: that of the run)")
    add("--text_pair_column", metavar="NAME", help="column of the second texts, for pairs")
    add("--label_column", metavar="NAME", help="column of the true labels (default: label)")
    add("--int8_dir", metavar="DIR", help="exported int8 model to compare the answers with")
    add("--engine", choices=("openvino",), default="openvino", help="engine for --int8_dir")
    add("--batch_size", type=int_at_least(1), default=32, help="texts per run")
    add("--mistakes", type=int_at_least(0), default=10, help="number of mistakes to list")
    help = f"page to write (default: {REPORT_FILE} in the folder of the run, else here)"
    add("--output_file", help=help)
    add("--json", metavar="FILE", help="also write the numbers as JSON")
    return parser.parse_args(argv)


def main(argv=None) -> None:
    """Answer the texts, measure, write."""
    args = parse_args(argv)
    start_paddle()
    from convbert.inference.dygraph import dygraph_runner, load_classifier

    model_dir = Path(args.model or default_checkpoint())
    run = model_dir if (model_dir / BEST_DIR).is_dir() else None
    checkpoint = run / BEST_DIR if run else model_dir
    model, processor = load_classifier(str(checkpoint))
    rows = labelled_rows(args, run, processor)
    names = processor.label_names or [str(number) for number in range(processor.num_classes)]
    target = args.output_file or (run / REPORT_FILE if run else REPORT_FILE)
    with output_json(args.json) as numbers, atomic_write(target) as file:
        answers = evaluation.answer(rows, processor, dygraph_runner(model), args.batch_size)
        numbers |= measure(args, answers, names)
        facts = {
            "model": (checkpoint.parent if checkpoint.name == BEST_DIR else checkpoint).name,
            "texts": numbers["input_file"],
            "accuracy": "{accuracy:.4f} ({right} of {texts})".format_map(numbers),
        }
        if args.int8_dir:
            int8 = "accuracy {accuracy:.4f}, same label {same_label:.2%}"
            facts["int8"] = int8.format_map(numbers["int8"])
        sections = {**training_section(run), **sections_of(numbers, answers)}
        file.write(html.page("ConvBERT report", facts, sections))
    calibration = numbers["calibration"]
    print(f"accuracy: {facts['accuracy']}")
    print(
        f"expected calibration error: {calibration['expected_calibration_error']:.4f}, "
        f"{calibration['error_after_temperature']:.4f} after temperature scaling"
    )
    if args.int8_dir:
        print(f"int8: {numbers['int8']['same_label']:.2%} same label")
    print("wrote", *filter(None, (target, args.json)))


def labelled_rows(args: argparse.Namespace, run: Path | None, processor) -> list[Row]:
    """Read the texts and their labels; by default from the columns used in training.

    Raises:
        UserError: the file or a row cannot be used, or the model is not a classifier.
    """
    saved = read_json(str(run / ARGS_FILE)) if run and (run / ARGS_FILE).is_file() else {}
    names = ("text_column", "text_pair_column", "label_column")
    columns = {name: getattr(args, name) or saved.get(name) for name in names}
    columns["label_column"] = columns["label_column"] or "label"
    rows = read_table(args.input_file, **columns)
    return list(with_label_ids(rows, processor.label_names, processor.num_classes))


def measure(args: argparse.Namespace, answers: evaluation.Answers, names: list[str]) -> dict:
    """All numbers of the page, with those of the quantized export if there is one."""
    numbers = {
        "input_file": Path(args.input_file).name,
        **evaluation.measure(answers, names, args.mistakes),
        "confusion": confusion(answers.labels, answers.classes, names),
    }
    if args.int8_dir:
        options = EngineOptions(engine=args.engine, precision="int8")
        engine, processor = open_exported(args.int8_dir, options)
        int8 = evaluation.answer(answers.rows, processor, engine.run, args.batch_size)
        numbers["int8"] = evaluation.agreement(answers, int8)
    return numbers


def training_section(run: Path | None) -> dict[str, str]:
    """Loss and metric over the steps; nothing for a bare checkpoint."""
    log = run / LOG_FILE if run else None
    if log is None or not log.is_file():
        return {}
    try:
        selection = read_json(str(run / SUMMARY_FILE))["selection"]
        picture = draw_curve(read_records(log), selection)
    except (KeyError, TypeError):
        message = f"{log} is damaged: move it away to get a report without curves"
        raise UserError("file-damaged", message) from None
    return {"Training": html.image("png", picture, "loss and metric over the steps")}


def sections_of(numbers: dict, answers: evaluation.Answers) -> dict[str, str]:
    """The parts about the answers, by heading."""
    found, calibration = numbers["confusion"], numbers["calibration"]
    scores = [
        {"label": name, **row, "support": int(row["support"])}
        for name, row in found["per_class"].items()
    ]
    before, after = calibration["reliability"], calibration["reliability_after_temperature"]
    intervals = [
        {"interval": "{from:.1f} to {to:.1f}".format_map(row)}
        | {name: row[name] for name in ("texts", "confidence", "accuracy")}
        for row in before
    ]
    lengths, negation = (
        html.table([{"group": name, **row} for name, row in numbers[part].items()])
        for part in ("by_length", "by_negation")
    )
    confused = html.confusion_table(found["confusion"], found["labels"])
    explained = html.note(CALIBRATION.format_map(calibration))
    return {
        "Confusion": confused + html.table(scores),
        "Calibration": explained + html.reliability_chart(before, after) + html.table(intervals),
        "Mistakes with the highest probability": html.table(numbers["mistakes"]),
        "Length": html.length_chart(answers.words, answers.right) + lengths,
        "Negation": negation,
    }


if __name__ == "__main__":
    run_main(main)
