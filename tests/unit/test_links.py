"""Links between the pages lead somewhere, and every page is found from the README."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(pattern: str = "*") -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


PAGES = tracked("*.md")
PLACES = {place for path in tracked() for place in (path, *path.parents)}


def prose(page: Path) -> str:
    """Return the page without code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL))


def links_of(page: Path) -> list[str]:
    """Return what the page links within the repository."""
    targets = re.findall(r"\]\(([^()\s]+)\)", prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    words = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in words}


def place_of(link: str, page: Path) -> Path:
    """Return the file or folder that the link of a page names."""
    name = link.partition("#")[0]
    return (page.parent / name).resolve() if name else page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_what_is_there(page: Path) -> None:
    astray = []
    for link in links_of(page):
        place, anchor = place_of(link, page), link.partition("#")[2]
        if place not in PLACES or (anchor and place.suffix == ".md" and anchor not in anchors_of(place)):
            astray.append(link)

    assert astray == []


def test_every_page_of_the_documentation_is_found_from_the_readme() -> None:
    found, ahead = {ROOT / "README.md"}, [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        places = {place_of(link, page) for link in links_of(page)}
        linked = {other for other in PAGES if other in places or other.parent in places - {ROOT, ROOT / "docs"}}
        ahead += linked - found
        found |= linked

    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert sorted(page.relative_to(ROOT).as_posix() for page in pages - found) == []


@pytest.mark.parametrize("folder", ["adr", "runbooks"])
def test_a_folder_of_pages_lists_each_by_its_title(folder: str) -> None:
    first, *others = sorted(tracked(f"docs/{folder}/*.md"), key=lambda page: page.name != "README.md")
    listed = re.findall(r"^(?:-|\d+\.) \[(.+)\]\((.+)\)$", first.read_text(), re.MULTILINE)
    titles = [(re.sub(r"^# (\d+\. )?", "", page.read_text().partition("\n")[0]), page.name) for page in others]

    assert sorted(listed) == sorted(titles)
