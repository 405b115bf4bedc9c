"""Links between pages lead somewhere, and the API page names what the package offers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dreamenv

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = LINK.findall(page.read_text("utf-8"))
    missing = [
        target for target in targets if "://" not in target and not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_api_page_names_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    named = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith(":::")}
    public = {name for name in dreamenv.__all__ if not name.endswith(("Error", "__"))}
    assert public - named == set()
