"""What the documents name exists, and both languages of the README have the same content."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from tests.docs.markdown import read_blocks

TRACKED = subprocess.check_output(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=REPO_ROOT, text=True
).splitlines()
DOCUMENTS = [name for name in TRACKED if name.endswith(".md") and (REPO_ROOT / name).is_file()]
# Pages in two languages: NAME.md and NAME_cn.md.
TRANSLATED = [name for name in DOCUMENTS if name.endswith("_cn.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path of this repository inside a code span or a command.
PATH = re.compile(
    r"(?<![\w/.-])(?:shell|tools|docs|deploy|tests|test_tipc|convbert|paddlenlp)/[\w./-]+"
)
SUFFIXES = {".py", ".sh", ".md", ".txt", ".yml", ".yaml", ".png"}
NUMBER = re.compile(r"\d[\d,.]*\d")


def headings(text: str) -> list[str]:
    """The headings outside fenced blocks."""
    return re.findall(r"^#+ .+$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)


def anchor(heading: str) -> str:
    """The name of a heading in a link, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str):
    path = REPO_ROOT / name
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, section = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if section:
            sections = map(anchor, headings(target.read_text(encoding="utf-8")))
            assert section in sections, link


@pytest.mark.parametrize("index", ["README.md", "README_cn.md"])
def test_every_page_is_in_the_index(index: str):
    links = set(LINK.findall((REPO_ROOT / "docs" / index).read_text(encoding="utf-8")))
    chinese = index.endswith("_cn.md")
    pages = {
        Path(name).name
        for name in DOCUMENTS
        if name.startswith("docs/") and name.endswith("_cn.md") == chinese
    }
    assert len(pages) > 1
    assert pages - {index} - links == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_files_exist(name: str):
    path = REPO_ROOT / name
    named = {word.rstrip(".") for word in PATH.findall(path.read_text(encoding="utf-8"))}
    missing = {
        word
        for word in named
        if Path(word).suffix in SUFFIXES
        and not any((folder / word).exists() for folder in (REPO_ROOT, path.parent))
    }
    assert missing == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_block_that_is_not_run_names_its_reason(name: str):
    notes = [block.note for block in read_blocks(REPO_ROOT / name) if block.note]
    assert [note for note in notes if not note.startswith(("not run here: ", "run by "))] == []


@pytest.fixture(params=TRANSLATED)
def pages(request) -> tuple[Path, Path]:
    """A page in English and in Chinese."""
    chinese = REPO_ROOT / request.param
    return chinese.with_name(chinese.name.replace("_cn.md", ".md")), chinese


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_chinese_page_links_to_chinese_pages(name: str):
    path = REPO_ROOT / name
    links = {link.partition("#")[0] for link in LINK.findall(path.read_text(encoding="utf-8"))}
    links.remove(path.name.replace("_cn.md", ".md"))  # to the English page itself
    pages = [path.parent / link for link in links if link.endswith(".md")]
    assert [page for page in pages if page.with_name(f"{page.stem}_cn.md").exists()] == []


def test_the_readme_is_translated():
    assert "README_cn.md" in TRANSLATED


def test_both_languages_have_the_same_blocks(pages):
    english, chinese = pages
    assert read_blocks(english) == read_blocks(chinese)


def test_both_languages_have_the_same_sections(pages):
    english, chinese = (headings(path.read_text(encoding="utf-8")) for path in pages)
    assert [re.match("#+", heading)[0] for heading in english] == [
        re.match("#+", heading)[0] for heading in chinese
    ]


@pytest.mark.parametrize("pattern", [LINK, NUMBER], ids=["links", "numbers"])
def test_both_languages_name_the_same(pages, pattern: re.Pattern):
    """Links lead to the same pages, each in the language of the page where it is translated."""
    english, chinese = (
        sorted(found.partition("#")[0] for found in pattern.findall(text))
        for text in (path.read_text(encoding="utf-8").replace("_cn.md", ".md") for path in pages)
    )
    assert english == chinese
