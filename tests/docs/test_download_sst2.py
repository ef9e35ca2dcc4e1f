"""tools/download_sst2.py: files given by hand, wrong files, and no access to the download site."""

import shutil

from tests.helpers.errors import assert_refused

SCRIPT = "tools/download_sst2.py"


def test_official_files_given_by_hand_are_kept(call_script, shared_data, tmp_path):
    for name in ("SST-2/train.tsv", "SST-2/dev.tsv", "vocab/vocab.txt"):
        shutil.copy(shared_data / name, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = call_script(SCRIPT, "--output_dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_file_is_refused(call_script, tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\na film\t1\n", encoding="utf-8")
    assert_refused(
        call_script(SCRIPT, "--output_dir", tmp_path), "data-set", tmp_path / "train.tsv"
    )


def test_without_the_download_site_the_missing_file_is_named(call_script, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    unreachable = {"PPNLP_HUB": "http://127.0.0.1:9", "PPNLP_HOME": str(tmp_path / "cache")}
    target = tmp_path / "SST-2"
    done = call_script(SCRIPT, "--output_dir", target, env=unreachable)
    assert_refused(done, "download", target / "train.tsv")
    assert list(target.iterdir()) == []
