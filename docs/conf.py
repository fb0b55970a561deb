"""How Sphinx makes a site of the pages, as they are: `make docs`. Nothing in the site comes from elsewhere."""

import tomllib
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

project = "Tenfold"
copyright = "the Tenfold authors"  # noqa: A001 - Sphinx's name
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

# The source is the whole checkout, so that a link from a page to a file of the code is a link in the site too.
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/**.md", "benchmarks/**.md", "deploy/*.md"]
exclude_patterns = [
    "**/.*",
    "**/node_modules",
    "site",
    "build",
    "dist",
    "data",
    "models",
    "stream",
    "tests",
    "training",
]
root_doc = "docs/README"

myst_heading_anchors = 4  # links to headings, by GitHub's names for them
html_theme = "furo"
html_title = f"Tenfold {release}"
html_static_path = ["theme/site.css", "theme/menu.js"]
html_extra_path = ["theme/index.html"]
html_css_files = ["site.css"]
html_js_files = ["menu.js"]
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None
html_theme_options = {
    "light_css_variables": {"font-stack": "system-ui, sans-serif"},
    "dark_css_variables": {"font-stack": "system-ui, sans-serif"},
}

# What the site's menu shows. A page that is in none of these stops the build.
MENU = {
    "Learn": ["A first look </README>", "walk-through"],
    "Do": [
        "compose", "kubernetes", "managed", "doctor", "archive", "how-to/*", "training", "evaluation", "models",
        "profiles", "suppress", "operations", "monitoring", "live-quality", "pseudonyms", "erasure", "capacity",
        "/deploy/acls", "runbooks/README",
    ],
    "Look up": ["settings", "reference/commands", "messages", "protocol", "map", "glossary", "/CHANGELOG"],
    "Understand": [
        "explanation/*", "model", "quality", "drift", "chaos", "threat-model", "/benchmarks/README",
        "/benchmarks/peers/README", "adr/README",
    ],
    "Carry on": ["/CONTRIBUTING", "releasing"],
}  # fmt: skip
FOLDERS = ("runbooks", "adr")  # their README lists them in words, and has their pages below it in the menu


def toctree(pages: list[str], caption: str = "") -> str:
    """Return the directive that puts pages, by name or pattern, below the page that it stands in."""
    named = [f":caption: {caption}"] if caption else []
    return "\n".join(["", "```{toctree}", ":hidden:", ":glob:", *named, "", *pages, "```", ""])


def add_menu(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append to the front page and to the folders' lists what only the site needs; on GitHub it would be in the way."""
    if page == root_doc:
        source[0] += "".join(toctree(pages, caption) for caption, pages in MENU.items())
    elif page in {f"docs/{folder}/README" for folder in FOLDERS}:
        source[0] += toctree(["[0-9a-z]*"])


def setup(app: Sphinx) -> None:
    """Connect what is above to the build."""
    app.connect("source-read", add_menu)
