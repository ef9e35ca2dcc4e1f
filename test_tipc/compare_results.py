"""Check the results of an engine by hand, or record them for comparison with later runs.

Example:
    python test_tipc/compare_results.py infer --results results.json --gt_file expected.json

The exit status is 1 if the answers differ. The runner checks each step with the same functions.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convbert.command.flags import make_parser
from convbert.command.start import run_main
from paddlenlp.utils.files import atomic_write
from paddlenlp.utils.products import sha256
from tipc import judge


def main(argv=None) -> int:
    """Check and print, or record; return 1 if anything is wrong."""
    parser = make_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    infer = commands.add_parser("infer", help="check the results of an engine")
    infer.add_argument("--gt_file", type=Path, required=True, help="recorded result")
    record = commands.add_parser("record", help="record a result")
    record.add_argument("--input_file", type=Path, required=True, help="the texts of the results")
    record.add_argument("--gt_file", type=Path, required=True, help="file to write")
    record.add_argument("--accuracy_atol", type=float, default=0.0, help="tolerance to record")
    record.add_argument("--accuracy_only", action="store_true", help="record no answers")
    for command in (infer, record):
        command.add_argument("--results", type=Path, required=True, help="--save_results of a run")
    args = parser.parse_args(argv)
    if args.command == "record":
        results = judge.read_json(args.results, "accuracy", "label_id", "prob")
        content = {"input_sha256": sha256(args.input_file), "accuracy": results["accuracy"]}
        content["accuracy_atol"] = args.accuracy_atol
        if not args.accuracy_only:
            content["label_id"] = results["label_id"]
            content["prob"] = [round(prob, 7) for prob in results["prob"]]
        with atomic_write(args.gt_file) as file:
            file.write(json.dumps(content) + "\n")
        return 0
    try:
        judge.engine(args.results, {}, gt_file=args.gt_file)
    except judge.Wrong as wrong:
        print(f"compare_results: {wrong}")
        return 1
    print("compare_results: good")
    return 0


if __name__ == "__main__":
    run_main(main)
