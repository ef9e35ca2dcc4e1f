"""The files in the output directory of a run."""

import pytest

from convbert.training.run_folder import read_records
from tests.helpers.errors import raises_code


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[]", b"{}", b'{"step": "2"}', b'{"step": 1'])
def test_a_line_that_is_not_a_record_is_named(tmp_path, line):
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b'{"step": 1}\n' + line + b"\n")
    with raises_code("file-damaged", log, "line 2 "):
        read_records(log)
