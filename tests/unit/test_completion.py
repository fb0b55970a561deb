"""What ``tenfold completion`` prints makes the real shells complete, installed as the page says."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest
from typer.main import get_command

from stream.cli import app
from tests.terminal import Terminal

SHELLS = ["bash", "zsh", "fish"]
_SECONDS = 60.0


@dataclass(frozen=True)
class Machine:
    """A home directory with a ``tenfold`` beside it, and a store of two bundles."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def program(self) -> Path:
        return self.root / "bin" / "tenfold"

    @property
    def environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("TENFOLD_")}
        return outside | {
            "HOME": str(self.home),
            "ZDOTDIR": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local"),
            "PATH": f"{self.program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TENFOLD_MODEL_STORE": str(self.root / "store"),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
        }

    def script(self, shell: str) -> str:
        """Return what the command prints."""
        ran = subprocess.run(
            [self.program, "completion", shell], env=self.environment, capture_output=True, text=True, check=True
        )
        assert ran.stderr == ""
        return ran.stdout

    def run(self, *command: str) -> str:
        """Return what a shell prints; it must complain of nothing."""
        ran = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=_SECONDS
        )
        assert ran.stderr == ""
        return ran.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    for directory in (made.home, made.program.parent, tmp_path / "store" / "v1", tmp_path / "store" / "v2"):
        directory.mkdir(parents=True)
    made.program.write_text(f'#!/bin/sh\nexec {sys.executable} -m stream "$@"\n')
    made.program.chmod(0o755)
    return made


def need(shell: str) -> None:
    """Skip where a shell is not installed; CI has all of them."""
    if which(shell) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{shell} is not installed")


def asked_bash(machine: Machine) -> Callable[[str], set[str]]:
    """Let bash complete a line as readline would: by the function that ``complete`` names for the command."""
    need("bash")
    (machine.home / ".bashrc").write_text(machine.script("bash"))

    def ask(line: str) -> set[str]:
        words = line.split(" ")
        return set(
            machine.run(
                "bash",
                "-c",
                f"source ~/.bashrc; COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}\n"
                "given=($(complete -p tenfold)); for at in ${!given[@]}; do\n"
                '  if [[ ${given[at]} == -F ]]; then "${given[at + 1]}" "${COMP_WORDS[0]}"; fi\n'
                "done; printf '%s\\n' \"${COMPREPLY[@]}\"",
            ).split()
        )

    return ask


def asked_fish(machine: Machine) -> Callable[[str], set[str]]:
    """Let fish complete a line; it finds the file of the command by itself."""
    need("fish")
    file = machine.home / ".config" / "fish" / "completions" / "tenfold.fish"
    file.parent.mkdir(parents=True)
    file.write_text(machine.script("fish"))

    def ask(line: str) -> set[str]:
        found = machine.run("fish", "-c", f"complete -C {shlex.quote(line)}")
        return {each.partition("\t")[0] for each in found.splitlines()}

    return ask


def asked_zsh(machine: Machine) -> Callable[[str], set[str]]:
    """Type a line into zsh on a terminal, then Tab, then a key that prints what the line is now or could become."""
    need("zsh")
    with (machine.home / ".zshrc").open("w") as startup:
        startup.write("autoload -Uz compinit; compinit -u\n")
        startup.write(machine.script("zsh"))

    def ask(line: str) -> set[str]:
        shown = typed_into_zsh(machine, line)
        return set(shown.split())

    return ask


def typed_into_zsh(machine: Machine, line: str) -> str:
    """Return what one Tab behind a line makes of it, and all that zsh lists below it."""
    with Terminal(["zsh", "-i"], machine.environment) as terminal:
        terminal.type(
            "PS1=; setopt no_beep list_packed; LISTMAX=10000; unsetopt auto_menu always_last_prompt; "
            "said() { print -r -- $'\\n'\"line=$BUFFER\"$'\\n'done }; zle -N said; bindkey '^X' said; echo rea''dy\n"
        )
        terminal.until("ready\r\n")
        terminal.type(f"{line}\t\x18")
        return terminal.until("\ndone")


ASK = {"bash": asked_bash, "zsh": asked_zsh, "fish": asked_fish}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_bundles_at_the_first_tab(shell: str, machine: Machine) -> None:
    ask = ASK[shell](machine)

    assert {"score", "schema"} <= ask("tenfold sc")
    assert "--from-beginning" in ask("tenfold watch --fr")
    assert "promote" in ask("tenfold models pro")
    assert {"v1", "v2"} <= ask("tenfold models show v")
    assert "zsh" in ask("tenfold completion z")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_one_that_is_typed_is_asked_and_not_the_one_on_the_path(shell: str, machine: Machine) -> None:
    ask = ASK[shell](machine)
    elsewhere = machine.program.rename(machine.root / "tenfold")
    machine.program.write_text("#!/bin/sh\nexit 1\n")
    machine.program.chmod(0o755)

    assert "promote" in ask(f"{elsewhere} models pro")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_of_a_command_is_offered_whatever_its_help_says(shell: str, machine: Machine) -> None:
    ask = ASK[shell](machine)
    for name in ("train", "import", "reset"):
        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}

        assert options <= ask(f"tenfold {name} --")


@pytest.mark.parametrize("shell", SHELLS)
def test_where_a_path_is_wanted_the_shell_completes_files(shell: str, machine: Machine) -> None:
    ask = ASK[shell](machine)
    if shell == "bash":
        assert ask(f"tenfold train --data {machine.root}/sto") == set()  # and so `-o default` does
        assert "-o default" in machine.script("bash")
    else:
        assert any("store" in word for word in ask(f"tenfold train --data {machine.root}/sto"))


def test_zsh_completes_at_the_first_tab_where_the_script_lies_in_its_fpath(machine: Machine) -> None:
    need("zsh")
    functions = machine.home / "functions"
    functions.mkdir()
    (functions / "_tenfold").write_text(machine.script("zsh"))
    (machine.home / ".zshrc").write_text(f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u\n")

    assert "promote" in typed_into_zsh(machine, "tenfold models pro")
