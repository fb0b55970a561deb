"""Every block of the pages is run by a test, or says why not; every command in them is one that there is."""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from stream.cli import app
from tests.claims import CLAIMS, NOT_RUN, Claim, NotRun
from tests.pages import ROOT, SHELL, SHOWN, Block, asked, blocks, pages, the_block

EVERY = [block for page in pages() for block in blocks(page)]
TYPED = [block for block in EVERY if block.language in SHELL]
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def is_meant(entry: Claim | NotRun, block: Block) -> bool:
    return (entry.page, entry.language) == (block.page, block.language) and entry.words in block.text


def test_the_reader_finds_indented_blocks_and_what_a_prompt_marks() -> None:
    [build] = [block for block in blocks("docs/releasing.md") if "uv build" in block.text]

    assert build.text.startswith("uv build --wheel\nuv export --frozen ")
    assert Block("page", 1, "console", "$ one\nanswer\n$ two\n").script == "one\ntwo"
    assert asked(Block("page", 1, "bash", 'A=7; X=1 .venv/bin/tenfold watch "$A b" \\\n --json &\n')) == (
        ("tenfold", "watch", "7 b", "--json"),
    )


@pytest.mark.parametrize("block", [block for block in EVERY if block.language not in SHOWN], ids=str)
def test_a_block_is_run_by_a_test_or_has_a_reason_not_to_be(block: Block) -> None:
    entries = [entry for entry in (*CLAIMS, *NOT_RUN) if is_meant(entry, block)]

    assert block.language, f"{block} says no language: `text` where nobody types it"
    assert len(entries) == 1, f"{block}: write a test that runs it, and say in tests/claims.py which; found {entries}"


def test_no_block_is_without_a_fence() -> None:
    def bare(page: str) -> list[str]:
        text = re.sub(r"^( *)```.*?^\1```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
        return re.findall(r"(?<=\n\n)    \S.*", text)

    assert {page: found for page in pages() if (found := bare(page))} == {}


@pytest.mark.parametrize("entry", [*CLAIMS, *NOT_RUN], ids=lambda entry: f"{entry.page} {entry.language} {entry.words}")
def test_an_entry_is_about_blocks_that_are_there(entry: Claim | NotRun) -> None:
    meant = [block for block in EVERY if is_meant(entry, block)]

    assert meant
    assert len(meant) == 1 or not entry.words, f"the words are in {len(meant)} blocks"


def taken_by(test: str) -> set[Block]:
    """Return the blocks that a test asks ``tests.pages`` for, by itself or by what it uses of its file and conftest."""
    file, _, name = test.partition("::")
    defined: dict[str, ast.stmt] = {}
    for source in (Path(file).with_name("conftest.py"), Path(file)):
        body = ast.parse((ROOT / source).read_text()).body if (ROOT / source).is_file() else []
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined[node.name] = node
            elif isinstance(node, ast.Assign):
                names = [each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)]
                defined |= dict.fromkeys(names, node)
    waiting, taken = [name], set[Block]()
    while waiting:
        for node in ast.walk(defined.pop(waiting.pop(), ast.Pass())):
            match node:
                case ast.Call(ast.Name("the_block"), [ast.Constant(page), ast.Constant(words)]):
                    taken.add(the_block(page, words))
                case ast.Call(ast.Name("blocks"), [ast.Constant(page)]):
                    taken.update(blocks(page))
                case ast.Name(used) | ast.arg(used) | ast.Constant(str(used)):  # a fixture is an argument, or a word
                    waiting.append(used)
    return taken


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.page} {claim.language} {claim.words}")
def test_a_test_that_is_named_takes_the_block_from_its_page(claim: Claim) -> None:
    claimed = {block for block in EVERY if is_meant(claim, block)}

    assert claimed - taken_by(claim.test) == set(), f"{claim.test} calls neither the_block() nor blocks() for it"


def test_a_test_that_takes_another_block_is_noticed() -> None:
    file = "tests/integration/test_readme.py"
    library = the_block("README.md", "LSTMFraudDetector")

    assert taken_by(f"{file}::test_the_library_example_of_the_readme_runs") == {library}
    assert library not in taken_by(f"{file}::test_the_python_of_the_readme_sends_a_payment_and_reads_its_score")
    assert taken_by(f"{file}::test_that_is_not_there") == set()


def services() -> dict[str, dict[str, Any]]:
    """Return the services of the compose files, those of the secure one as far as they are its own."""
    plain, secure = (
        yaml.safe_load(re.sub(r"!(override|reset)\b", "", (ROOT / file).read_text()))["services"]
        for file in ("docker-compose.yml", "deploy/compose.secure.yml")
    )
    return secure | plain


def take_tenfold(words: Sequence[str]) -> None:
    """Let the command line read the words up to the point of running.

    Raises:
        click.UsageError: an option or a command that is not there, a value that is none.
    """
    command, rest, parent = get_command(app), list(words), None
    while True:
        context = command.make_context(command.name or "tenfold", rest, parent=parent)
        if not hasattr(command, "commands"):
            return
        rest = [*context._protected_args, *context.args]
        _, command, rest = command.resolve_command(context, rest)  # type: ignore[attr-defined]
        parent = context


def take_compose(words: list[str]) -> None:
    """Hold ``docker compose`` to the files, the profiles and the services that there are."""
    known = services()
    profiles = {name for service in known.values() for name in service.get("profiles", [])}
    while words[0].startswith("-"):
        option, value, *words = words
        assert option in {"-f", "--profile"}
        assert value in profiles if option == "--profile" else (ROOT / value).is_file()
    verb, *words = words
    assert verb in {
        "up",
        "down",
        "exec",
        "logs",
        "run",
        "restart",
        "stop",
        "start",
        "cp",
        "pull",
        "build",
        "config",
        "ps",
    }
    if verb == "cp":
        assert words[0].partition(":")[0] in known
        return
    while words and words[0].startswith("-"):
        option, *words = words
        if option == "--tail":
            words = words[1:]
        elif option == "--scale":
            name, *words = words
            assert name.partition("=")[0] in known
    if verb not in {"exec", "run"}:
        assert set(words) <= known.keys()
        return
    service, *words = words
    assert service in known
    if verb == "run":
        _, *before = known[service].get("entrypoint", ["tenfold"])
        take_tenfold([*before, *(words or known[service]["command"])])
    elif words[0] == "tenfold":
        take_tenfold(words[1:])


def take(words: Sequence[str]) -> None:
    """Hold a command to what there is, as far as that is known without starting it."""
    program, *rest = words
    if program == "tenfold":
        take_tenfold(rest)
    elif program == "make":
        assert all(re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE) for target in rest if "=" not in target)
    elif program == "docker" and rest[0] == "compose":
        take_compose(rest[1:])
    elif program == "docker" and rest[0] == "build" and "-" not in rest:
        assert (ROOT / rest[rest.index("-f") + 1]).is_file()
    elif program == "kubectl" and rest[0] == "run":
        take_tenfold(rest[rest.index("--") + 1 :])
    elif program == "helm":
        assert (ROOT / rest[2] / "Chart.yaml").is_file()
    elif program == "pip":
        for extra in re.findall(r"\[(\w+)\]", " ".join(rest)):
            assert extra in EXTRAS


def with_commands() -> Iterator[Block]:
    programs = r"\b(tenfold [a-z]|make [a-z]|docker |kubectl |helm |pip install|kafka-[a-z-]+\.sh)"
    return (block for block in TYPED if re.search(programs, re.sub(r"\b[\w.-]*/tenfold", "", block.script)))


@pytest.mark.parametrize("block", TYPED, ids=str)
def test_a_command_is_one_that_there_is(block: Block) -> None:
    for words in asked(block):
        take(words)


def test_commands_are_found_in_blocks() -> None:
    assert [str(block) for block in with_commands() if not asked(block)] == []


@pytest.mark.parametrize("words", ["watch --anomaly", "topic create", "doctor --users many", "archive rum"])
def test_a_command_that_is_none_is_noticed(words: str) -> None:
    with pytest.raises(Exception, match=r"No such|a valid integer"):
        take(("tenfold", *words.split()))


@pytest.mark.parametrize("block", [block for block in EVERY if block.language in {"json", "toml", "yaml"}], ids=str)
def test_data_can_be_read(block: Block) -> None:
    if block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    else:
        json.loads(block.text if block.text.lstrip().startswith(("{", "[")) else f"{{{block.text}}}")


def in_passing() -> list[str]:
    """Return the commands that pages on how to do something, and runbooks, name in a sentence."""
    how_to = [page for page in pages() if page.startswith(("docs/how-to/", "docs/runbooks/"))]
    texts = [
        (ROOT / page).read_text() for page in how_to if page != "docs/how-to/extend.md"
    ]  # of what is not there yet
    return [command for text in texts for command in re.findall(r"`((?:tenfold|docker compose) [^`]*)`", text)]


@pytest.mark.parametrize("command", in_passing())
def test_a_command_named_in_passing_is_one_that_there_is(command: str) -> None:
    program, *words = shlex.split(command)
    if program != "tenfold" or any(word.startswith("-") for word in words):
        take((program, *words))
        return
    its = get_command(app)  # it may lack what it cannot do without: the sentence is about it
    while hasattr(its, "commands"):
        its = its.commands[words.pop(0)]


def test_there_are_such_commands() -> None:
    assert len(in_passing()) > 20
