"""Names that stand for users: one a user and generation, chained, and nothing without the keys."""

import hmac
import re
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.context import ProfileDefinition
from stream.profile_layout import ProfileKeys
from stream.pseudonyms import CLEAR, Pseudonyms, PseudonymsError
from stream.settings import SettingsError, load

KEYS = tuple(sha256(b"key %d" % number).digest() for number in range(3))
LISTED = ",".join(key.hex() for key in reversed(KEYS))  # newest first

users = st.lists(st.text(min_size=1, max_size=128).map(lambda text: text.encode(errors="replace")), max_size=20)


def test_without_keys_users_have_their_ids() -> None:
    given = [b"ann", b"bob"]
    assert CLEAR.of(given) is given, "off costs nothing"
    assert (CLEAR.tag, CLEAR.epoch("0d"), CLEAR.older) == ("", "0d", [])
    assert load().pseudonyms == CLEAR


def test_a_name_is_the_chain_of_hmacs_written_out() -> None:
    name = b"ann"
    for generation, key in enumerate(KEYS, 1):
        raw = hmac.new(key, name, sha256).digest()[:18]
        name = b"p%d." % generation + urlsafe_b64encode(raw)
        assert Pseudonyms(KEYS[:generation]).of([b"ann"]) == [name]


@given(users, st.integers(1, 3), st.data())
def test_one_name_a_user_and_generation_and_older_names_are_brought_forward(
    ids: list[bytes], generation: int, data: st.DataObject
) -> None:
    named = Pseudonyms(KEYS[:generation])
    names = named.of(ids)
    assert named.of(ids) == names
    assert len(set(names)) == len(set(ids))
    assert all(re.fullmatch(rb"p%d\.[A-Za-z0-9_-]{24}" % generation, name) for name in names)
    older = data.draw(st.integers(0, generation))
    assert named.forward(Pseudonyms(KEYS[:older]).of(ids), older) == names
    assert [named.every(each)[-1] for each in ids] == names


@given(st.binary(min_size=1, max_size=128), st.integers(0, 2))
def test_another_key_anywhere_in_the_chain_makes_other_names(user: bytes, place: int) -> None:
    other = tuple(b"\x01" * 32 if number == place else key for number, key in enumerate(KEYS))
    assert Pseudonyms(other).of([user]) != Pseudonyms(KEYS).of([user])
    assert Pseudonyms(other).tag != Pseudonyms(KEYS).tag


def test_an_epoch_says_under_which_keys_its_windows_lie() -> None:
    new, old = Pseudonyms(KEYS), Pseudonyms(KEYS[:1])
    assert re.fullmatch(r"0d\.p3-[0-9a-f]{8}", new.epoch("0d"))
    assert [new.generation_of(each.epoch("0d")) for each in (CLEAR, *new.older, new)] == [0, 0, 1, 2, 3]
    assert [new.is_older(each.epoch("0d"), old.epoch("3f")) for each in (CLEAR, old, new)] == [True, False, False]
    assert not old.is_older(new.epoch("0d"), old.epoch("0d")), "newer keys are nobody's business"
    for mine, theirs in ((old, new), (CLEAR, old), (new, Pseudonyms((b"\x01" * 32,)))):
        with pytest.raises(PseudonymsError, match="newest key first") as refused:
            mine.generation_of(theirs.epoch("0d"))
        assert not any(key.hex() in str(refused.value) for key in (*KEYS, b"\x01" * 32))


def test_tables_of_profiles_are_apart_by_generation_and_merchants_keep_their_ids() -> None:
    by_tag = [ProfileKeys("t", ProfileDefinition("UTC", 7), each) for each in (CLEAR, *Pseudonyms(KEYS).older[1:])]
    assert len({keys.index for keys in by_tag}) == len({keys.table("0a", "user", 1) for keys in by_tag}) == 3
    assert [keys.names("merchant", [b"m"]) for keys in by_tag] == [[b"m"]] * 3
    assert by_tag[0].index == b"tenfold:profiles:t:" + ProfileDefinition("UTC", 7).name.encode()


def test_keys_are_read_newest_first_in_hex_and_base64(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = [KEYS[2].hex().upper(), b64encode(KEYS[1]).decode(), urlsafe_b64encode(KEYS[0]).decode()]
    monkeypatch.setenv("TENFOLD_PSEUDONYM_KEYS", " , ".join(mixed))
    settings = load()
    assert settings.pseudonyms == Pseudonyms(KEYS)
    for printed in (repr(settings), str(settings.masked()), repr(settings.pseudonyms)):
        assert not any(each in printed for each in mixed)
        assert repr(KEYS[0])[2:-1] not in printed
    assert settings.masked()["pseudonym_keys"] == "****"


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("ab" * 31, "key 1 has 31 bytes, and needs 32"),
        ("ab" * 24, "key 1 has 24 bytes, and needs 32"),  # in base64 it would be 36
        (f"{LISTED},{'ab' * 8}", "key 4 has 8 bytes"),
        (f"{LISTED},", "key 4 has 0 bytes"),
        ("correct horse battery staple correct horse battery", "key 1 is neither hex nor base64"),
        ("ab" * 40 + "a", "key 1 is neither hex nor base64"),
        ("ab" * 40 + "é", "key 1 is neither hex nor base64"),
        (f"{KEYS[0].hex()},{b64encode(KEYS[0]).decode()}", "has the same key twice"),
    ],
)
def test_what_is_no_key_is_refused_and_not_printed(monkeypatch: pytest.MonkeyPatch, listed: str, said: str) -> None:
    monkeypatch.setenv("TENFOLD_PSEUDONYM_KEYS", listed)
    with pytest.raises(SettingsError, match=f"TENFOLD_PSEUDONYM_KEYS: {said}") as refused:
        load()
    assert not any(each.strip() in str(refused.value) for each in listed.split(",") if each.strip())
