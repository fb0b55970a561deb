"""The site builds without a warning, reaches every page, and asks nothing of the network."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "use": "href",
}


class References(HTMLParser):
    """What a page loads by itself, where its links lead, and the names that links to it may use."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value}
        if LOADS.get(tag) in given:
            self.loads.append(given[LOADS[tag]])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.names |= {given[name] for name in ("id", "name") if name in given}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", "docs", "--doctree-dir", where / "trees"]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ROOT, where / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return where / "html"


@pytest.fixture(scope="module")
def references(site: Path) -> dict[Path, References]:
    return {page: References(page.read_text()) for page in site.rglob("*.html")}


def test_the_reader_of_pages_sees_a_load_from_elsewhere() -> None:
    page = References('<link href="https://a/b.css"><script src="//a/b.js"></script><a id="here" href="#x">x</a>')

    assert [bool(ELSEWHERE.match(load)) for load in page.loads] == [True, True]
    assert (page.links, page.names) == (["#x"], {"here"})


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "docs/*.md"], cwd=ROOT, capture_output=True, text=True, check=True)

    pages = [name for name in listed.stdout.split() if (ROOT / name).is_file()]
    assert [name for name in pages if not (site / name).with_suffix(".html").is_file()] == []


def test_nothing_in_the_site_comes_from_elsewhere(site: Path, references: dict[Path, References]) -> None:
    loads = [(page.name, load) for page, found in references.items() for load in found.loads if ELSEWHERE.match(load)]
    styles = [
        (style.name, address)
        for style in site.rglob("*.css")
        for address in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", style.read_text())
        if ELSEWHERE.match(address)
    ]

    assert loads + styles == []


def test_links_of_the_site_lead_to_what_is_there(references: dict[Path, References]) -> None:
    astray = []
    for page, found in references.items():
        for link in {*found.links, *found.loads}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchors = references[place].names if place in references else {parts.fragment}
            if not place.exists() or (parts.fragment and parts.fragment not in anchors):
                astray.append(f"{page.name}: {link}")

    assert astray == []


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs" / "pictures").glob("*.svg")), ids=lambda picture: picture.name
)
def test_a_picture_loads_nothing(picture: Path) -> None:
    found = References(picture.read_text()).loads + re.findall(r"url\(([^)]*)\)|@import", picture.read_text())

    assert [load for load in found if not load.startswith("#")] == []
