"""The fenced blocks of a Markdown document."""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"(?:^<!-- ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its content, and the comment in the line above it."""

    kind: str
    body: str
    note: str = ""

    @property
    def runs(self) -> bool:
        """Whether the tests run this block; otherwise its note gives the reason."""
        return self.kind == "bash" and not self.note


def read_blocks(path: Path) -> list[Block]:
    """All fenced blocks of a document, in order."""
    found = FENCE.finditer(path.read_text(encoding="utf-8"))
    return [Block(match[2], match[3], match[1] or "") for match in found]
