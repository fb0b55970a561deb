"""The page with the rights as commands is made of the rights that the compose file sets."""

import re

from deploy.secure.acls import MORE, PAGE, command, page
from deploy.secure.rights import RIGHTS


def test_the_page_is_what_the_rights_make() -> None:
    assert PAGE.read_text() == page(), "python -m deploy.secure.acls writes it anew"


def test_every_right_of_every_role_is_a_command_of_its_own() -> None:
    granted = [command(role, right) for role, rights in (RIGHTS | MORE).items() for right in rights]

    assert len(set(granted)) == len(granted) >= 20
    assert re.findall(r"^kafka-acls\.sh .*$", page(), re.MULTILINE) == granted


def test_nobody_shares_a_name_and_nobody_gets_more_than_reading_writing_and_describing() -> None:
    operations = {right[3].name for rights in (RIGHTS | MORE).values() for right in rights}

    assert not RIGHTS.keys() & MORE.keys()
    assert operations == {"READ", "WRITE", "DESCRIBE"}
