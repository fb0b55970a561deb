"""The pages, and their fenced blocks: what a reader is told to type, or to put into a file."""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PLACES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "benchmarks/*.md", "deploy/*.md")  # a * of git passes folders
SHELL = frozenset({"console", "bash", "sh"})
SHOWN = frozenset({"text", "mermaid"})  # nobody types these


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


#: Programs that a page may name and that :func:`asked` only listens to.
PROGRAMS = (
    *("tenfold", "make", "docker", "kubectl", "helm", "pip", "uv", "git", "python3"),
    *("kafka-console-producer.sh", "kafka-console-consumer.sh", "kafka-configs.sh", "kafka-acls.sh"),
)


@cache
def asked(block: Block) -> tuple[tuple[str, ...], ...]:
    """Return the commands that a shell would start for a block, as it splits and fills them in, without starting them.

    A program of :data:`PROGRAMS` is replaced by one that writes down what it is asked; what else the block names
    (``sed``, ``date``, ``cd``) runs in an empty folder, and may fail there.
    """
    with tempfile.TemporaryDirectory(prefix="tenfold-page-") as directory:
        here = Path(directory)
        log, programs = here / "asked", here / "programs"
        programs.mkdir()
        (here / "empty").mkdir()
        log.touch()
        for name in PROGRAMS:
            write = f"import json, sys; open({str(log)!r}, 'a').write(json.dumps([{name!r}, *sys.argv[1:]]) + chr(10))"
            (programs / name).write_text(f"#!{sys.executable} -SE\n{write}\n")
            (programs / name).chmod(0o755)
        script = re.sub(r"(?<!\S)(?:\.venv|/tmp/tenfold)/bin/(?=\w)", "", block.script)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": directory}
        subprocess.run(
            ["bash", "-c", f"{script}\nwait"],
            cwd=here / "empty",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return tuple(tuple(json.loads(line)) for line in log.read_text().splitlines())
