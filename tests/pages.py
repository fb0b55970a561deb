"""The pages, and their fenced blocks: what a reader is told to type, or to put into a file."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PLACES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "benchmarks/*.md", "deploy/*.md")  # a * of git passes folders
SHELL = frozenset({"console", "bash", "sh"})
SHOWN = frozenset({"text"})  # nobody types these


@dataclass(frozen=True)
class Block:
    """One fenced block of a page; ``text`` is without the fence, and without its indentation."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def script(self) -> str:
        """What a shell is given: all of it, or where a prompt marks what is typed, that."""
        typed = re.findall(r"^\$ (.*)$", self.text, re.MULTILINE)
        return "\n".join(typed) if typed else self.text


@cache
def pages() -> tuple[str, ...]:
    """Return the paths of the pages whose blocks are held to."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *_PLACES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return tuple(sorted({name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}))


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """Return the fenced blocks of a page, in order."""
    text = (ROOT / page).read_text()
    found = []
    for match in re.finditer(r"^( *)```([^\n`]*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        indent, language, inside = match.groups()
        inside = re.sub(rf"^{indent}", "", inside, flags=re.MULTILINE)
        found.append(Block(page, text[: match.start()].count("\n") + 1, language.strip(), inside))
    return tuple(found)


def the_block(page: str, containing: str) -> Block:
    """Return the page's one block that contains the words.

    Raises:
        ValueError: there is none, or more than one.
    """
    [found] = [block for block in blocks(page) if containing in block.text]
    return found


#: What really runs when a block is only listened to: it fills in the others' words, and touches nothing.
_HARMLESS = ("cat", "date", "openssl")
_END = "\x1e"
_WRITES_DOWN = f"command_not_found_handle() {{ printf '%s\\0' \"$@\" $'{_END}' >>\"$ASKED\"; }}"


@cache
def asked(block: Block) -> tuple[tuple[str, ...], ...]:
    """Return the commands that a shell would start for a block, as it splits and fills them in, without starting them.

    They are not on its PATH, and what a shell does not find it hands to a function, which writes it down.
    """
    with tempfile.TemporaryDirectory(prefix="tenfold-page-") as directory:
        programs, empty, log = (Path(directory) / name for name in ("programs", "empty", "asked"))
        programs.mkdir()
        empty.mkdir()
        log.touch()
        for name in _HARMLESS:
            if found := shutil.which(name):
                (programs / name).symlink_to(found)
        script = re.sub(r"(?<!\S)(?:\.venv|/tmp/tenfold)/bin/(?=\w)", "", block.script)
        subprocess.run(
            [shutil.which("bash") or "bash", "-c", f"{_WRITES_DOWN}\n{script}\nwait"],
            cwd=empty,
            env={"PATH": str(programs), "HOME": directory, "ASKED": str(log)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        commands = log.read_text().split(f"\0{_END}\0")
        return tuple(tuple(command.split("\0")) for command in commands if command)
