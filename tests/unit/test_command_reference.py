"""The page of commands is what the commands say."""

from stream.command_reference import PAGE, page


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python -m stream.command_reference"


def test_it_has_every_command_with_its_options() -> None:
    parts = {part.partition("\n")[0]: part for part in page().split("\n## ")[1:]}

    assert {"tenfold score", "tenfold models promote", "tenfold explain", "tenfold erase-user"} <= parts.keys()
    assert "| `--rate N` | Events a second, once a history is loaded. Default: `500`. |" in parts["tenfold demo"]
    assert "--picture" not in parts["tenfold demo"]
    assert "`--preset baseline\\|default`" in parts["tenfold train"]
    assert [name for name, part in parts.items() if "Example: `" not in part] == []
