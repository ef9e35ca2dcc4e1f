"""The version is stated once; changelog, citation, issue forms and image are well formed."""

import re
from glob import glob

import pytest

import paddlenlp
from paddlenlp import transformers

yaml = pytest.importorskip("yaml", reason="serving is not installed: bash shell/serving.sh setup")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_version_is_that_of_the_library(repo_root):
    citation = yaml.safe_load((repo_root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == paddlenlp.__version__
    changelog = (repo_root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[(\d[^]]*)\]", changelog, re.M)[1] == paddlenlp.__version__
    project = (repo_root / "pyproject.toml").read_text(encoding="utf-8")
    assert paddlenlp.__version__ not in project


def test_the_changelog_has_the_form_of_keep_a_changelog(repo_root):
    text = (repo_root / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.M)
    assert versions[0] == "[Unreleased]"
    for version in versions[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version)
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= KINDS


def test_the_citation_names_the_paper(repo_root):
    citation = yaml.safe_load((repo_root / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    paper = citation["preferred-citation"]
    for file in ("README.md", "README_cn.md"):
        text = (repo_root / file).read_text(encoding="utf-8")
        assert paper["title"] in text
        assert all(author["family-names"] in text for author in paper["authors"])


def test_every_issue_form_has_a_name_and_questions(repo_root):
    forms = list((repo_root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert forms
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"]
        assert form["description"]
        fields = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert fields
        assert len(fields) == len(set(fields))


@pytest.mark.parametrize("name", ["Dockerfile", "deploy/serving_python/container/Dockerfile"])
def test_an_image_copies_what_exists(repo_root, name):
    text = (repo_root / name).read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.*)$", text, re.M):
        *sources, _ = line.split()
        assert all(glob(str(repo_root / source)) for source in sources), line


def test_the_image_starts_a_script(repo_root):
    text = (repo_root / "Dockerfile").read_text(encoding="utf-8")
    assert (repo_root / re.search(r'^CMD \["python", "([^"]+)"', text, re.M)[1]).is_file()


@pytest.mark.parametrize("page", ["upstream.md", "upstream_cn.md"])
def test_the_names_of_the_library_are_documented(repo_root, page):
    text = (repo_root / "docs" / page).read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| `paddlenlp.transformers` |")]
    assert set(re.findall(r"`(\w+)`", row)) == set(transformers.__all__)
