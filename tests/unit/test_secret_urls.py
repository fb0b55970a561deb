"""A password in a URL is used as it was meant, or refused; it is never shown."""

import os
from unittest import mock
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import settings as how
from hypothesis import strategies as st
from redis.connection import parse_url
from typer.testing import CliRunner

from stream.cli import app
from stream.redis_client import connect
from stream.redis_url import split_redis_url
from stream.scorer import _addresses
from stream.settings import PREFIX, Settings, SettingsError, load, mask_url
from training.archive import ArchiveError, open_archive

FORMS = [
    "redis://{}@host:6379/0",
    "rediss://{}@host:6380/1?protocol=3",
    "redis://{}@[::1]:6379",
    "unix://{}@/run/redis.sock",
    "redis+sentinel://{}@a:26379,b/fraud/0",
    "rediss+sentinel://{}@a,b:1/fraud",
    "redis+cluster://{}@a:7000,b:7001",
    "rediss+cluster://{}@a,b",
]

#: Passwords of which a piece is easily found again: ``hunter2`` around what a URL may read in another way.
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)).map(
    lambda between: "hunter2".join(["", *between, ""])
)
MARKS = st.lists(st.sampled_from([*"/?#@:[]%&=,+ \\\t\n", "%2F", "12/", ":12/", "//", "://"]), min_size=1).map(
    lambda between: "hunter2".join(["", *between, ""])
)


def shown(settings: Settings) -> list[str]:
    """Return all that is printed and logged of settings."""
    ran = [CliRunner().invoke(app, ["config", *form]) for form in ([], ["--json"])]
    assert [each.exit_code for each in ran] == [0, 0]
    return [*(each.output for each in ran), repr(settings), str(settings.masked()), str(_addresses(settings))]


@how(deadline=None)
@given(form=st.sampled_from(FORMS), user=st.sampled_from(["", "scorer"]), word=WORDS | MARKS)
@example(form=FORMS[0], user="", word="hunter2/hunter2")
@example(form=FORMS[0], user="", word="12/hunter2")
@example(form=FORMS[0], user="", word="hunter2#hunter2")
@example(form=FORMS[0], user="", word="hunter2?hunter2")
@example(form=FORMS[0], user="", word="a[hunter2]")
@example(form=FORMS[4], user="scorer", word="hunter2/hunter2")
@example(form=FORMS[6], user="scorer", word="hunter2\u2100")
def test_a_password_of_redis_is_meant_or_refused_and_never_shown(form: str, user: str, word: str) -> None:
    url = form.format(f"{user}:{word}")
    assert "hunter2" not in mask_url(url)
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with mock.patch.dict(os.environ, {**others, f"{PREFIX}REDIS_URL": url}, clear=True):
        try:
            settings = load()
            told = shown(settings)
        except SettingsError as refused:
            settings, told = None, [str(refused)]
    assert not [each for each in told if "hunter2" in each]
    if settings is None:
        return
    place = split_redis_url(url)
    read = parse_url(place.plain)
    assert (read.get("username", ""), read["password"]) == (user, unquote(word))
    assert read.get("host", read.get("path")) in {"host", "::1", "/run/redis.sock", "a"}
    if place.kind != "cluster":  # which would be asked
        connect(settings).close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mark", ["/", "?", "#"])
def test_a_mark_in_a_password_is_refused_with_how_to_write_it(form: str, mark: str) -> None:
    with pytest.raises(ValueError, match=r"write / as %2F, [?] as %3F, # as %23"):
        split_redis_url(form.format(f":hun{mark}ter2"))


@pytest.mark.parametrize(
    "url", ["redis", "redis:/:hunter2@host", "redis+://h", " redis://:hunter2@host", "redis://h:x"]
)
def test_what_redis_py_would_not_read_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must begin with redis://|has an address that is not host or host:port"):
        split_redis_url(url)


def test_an_option_in_the_url_that_redis_py_does_not_take_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="Invalid value for 'protocol'"):
        connect(Settings(redis_url="redis://host/0?protocol=x"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://scorer:hunter2@h:1/0", "redis://****@h:1/0"),
        ("redis://hunter2@h", "redis://****@h"),
        ("redis://h:1/0?password=hunter2&protocol=3", "redis://h:1/0?****"),
        ("redis://h:1/0?password=hun&ter2=x#ter2", "redis://h:1/0?****"),
        ("redis://h:1/0?protocol=3", "redis://h:1/0?protocol=3"),
        ("redis+sentinel://:hunter2@a:1,b:2/fraud/0", "redis+sentinel://****@a:1,b:2/fraud/0"),
        ("sftp://analyst:hun/ter2@h/archive", "sftp://****@h/archive"),
        ("https://h/archive?token=hun@ter2", "https://****"),
        ("https://account.example/archive?sv=1&sig=hunter2", "https://account.example/archive?****"),
        ("abfs://container@account.example/archive", "abfs://container@account.example/archive"),
        ("s3://bucket/archive", "s3://bucket/archive"),
        ("/var/archive@home", "/var/archive@home"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@pytest.mark.parametrize("url", ["ftp://u:hun?ter2@host/x", "ftp://u:hun/ter2@host/x", "nowhere://u:hunter2@host/x"])
def test_a_place_that_is_none_for_an_archive_is_told_without_its_password(url: str) -> None:
    with pytest.raises(
        ArchiveError, match=r"\*\*\*\*.* is not a place for an archive: write /, [?], # and @"
    ) as refused:
        open_archive(url)
    assert "hun" not in str(refused.value)
    assert "ter2" not in str(refused.value)
