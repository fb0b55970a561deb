"""A password in a URL is used as it was meant, or refused; it is never shown."""

import os
from datetime import date
from unittest import mock
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import settings as how
from hypothesis import strategies as st
from redis.connection import parse_url
from typer.testing import CliRunner

from stream.cli import app
from stream.errors import TenfoldError
from stream.redis_client import connect
from stream.redis_url import split_redis_url
from stream.scorer import _addresses
from stream.settings import PREFIX, Settings, SettingsError, load, mask_url
from training.archive import ArchiveError, FileName, open_archive

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


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h/0?protocol=x", "TENFOLD_REDIS_URL: Invalid value for 'protocol'"),
        ("redis://h/0?protocol=7", "TENFOLD_REDIS_URL: protocol behind the ? takes 2 or 3"),
        (
            "redis://h?socket_timeot=5",
            "TENFOLD_REDIS_URL: socket_timeot behind the ? is no option of redis-py's client: ",
        ),
        ("redis://h?cache=x", "TENFOLD_REDIS_URL: cache behind the ? takes an object of Python"),
        ("redis://h?ssl_ca_certs=x", "TENFOLD_REDIS_URL: ssl_ca_certs behind the ? is for TLS: "),
        (
            "redis+cluster://h?require_full_coverage=false",
            "behind the ?: give it as TENFOLD_REDIS__REQUIRE_FULL_COVERAGE",
        ),
        ("redis+sentinel://h/fraud?sentinel_client_name=x", "the ?: give it as TENFOLD_REDIS__SENTINEL_CLIENT_NAME"),
    ],
)
def test_an_option_in_the_url_that_redis_py_does_not_take_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("TENFOLD_REDIS_URL", url)
    with pytest.raises(SettingsError) as refused:
        load()
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?client_name=x&socket_timeout=0.5&protocol=3&db=1",
        "rediss://h?ssl_min_version=771&ssl_check_hostname=false&ssl_ca_certs=ca.pem",
        "redis://h?username=scorer&password=hunter2%26",
    ],
)
def test_what_redis_py_takes_in_a_url_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TENFOLD_REDIS_URL", url)
    connect(load()).close()


@pytest.mark.parametrize(
    "behind",
    [
        "hunter&hunter2=c",
        "hun&protocol=hunter2",
        "hun&protocol=3&hunter2=hunter2",
        "hunter2&socket_timeot=hunter2",
        "hunter2&retry_on_error=hunter2",
        "&hunter2=x",
    ],
)
@pytest.mark.parametrize("form", ["redis://h/0?password=", "redis+cluster://h?password=", "redis://h?PASSWORD="])
def test_nothing_behind_a_password_in_a_url_is_told(monkeypatch: pytest.MonkeyPatch, form: str, behind: str) -> None:
    monkeypatch.setenv("TENFOLD_REDIS_URL", form + behind)
    with pytest.raises(SettingsError, match=r"TENFOLD_REDIS_URL: has an option behind its [?]") as refused:
        connect(load())
    assert "hun" not in str(refused.value)


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


def test_a_place_that_does_not_answer_is_told_without_its_password() -> None:
    with pytest.raises(ArchiveError, match=r"ftp://[*]{4}@127[.]0[.]0[.]1:1/archive does not answer: ") as refused:
        open_archive("ftp://analyst:hunter2@127.0.0.1:1/archive")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("form", ["memory://analyst:hunter2@host/{}", "memory://host/{}?secret=hunter2"])
def test_no_error_of_an_archives_files_tells_a_secret_of_its_address(form: str) -> None:
    archive = open_archive(form.format("archive"))
    there, gone = (FileName("payments", date(2026, 3, 1), 0, first, first) for first in (0, 1))
    archive.fs.pipe_file(archive.full(there.path), b"no Parquet")
    archive.fs.pipe_file(archive.full("payments/date=2026-03-01/other.parquet"), b"no Parquet")
    told = []
    for fails in (
        lambda: archive.open_file(there),
        lambda: archive.open_file(gone),
        lambda: archive.files("payments"),
        lambda: archive.require(["labels"]),
    ):
        with pytest.raises(TenfoldError) as failed:
            fails()
        told.append(str(failed.value))
    assert [each for each in told if "hunter2" in each] == []
    assert [each for each in told if "****" not in each] == []
    assert "hunter2" in archive.address(there.path)  # for who reads it, not for people
