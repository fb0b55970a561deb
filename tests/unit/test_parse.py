"""The fast way to parse a transaction agrees with the contract's on whatever it accepts; the rest it leaves to it."""

import json
import random
import subprocess
import sys
import typing
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream import contract
from stream.parse import ParsedLabel, ParsedScore, ParsedTransaction, parse_plain
from stream.timestamps import LAYOUTS, epochs_ms
from tests.chaos.mutants import mutant
from tests.parsing import accepted

NOW_MS = 1_767_261_600_000  # 2026-01-01T10:00:00Z
GOOD = b'{"transaction_id":"t1","user_id":"u1","amount":12.5,"created_at":"2026-01-01T10:00:00Z"}'


def with_fields(**texts: str) -> bytes:
    """Return a good transaction with some fields as the JSON that is given."""
    fields = {name: json.dumps(field) for name, field in json.loads(GOOD).items()} | texts
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (ParsedTransaction, contract.Transaction),
        (ParsedScore, contract.FraudScore),
        (ParsedLabel, contract.FraudLabel),
    ],
)
def test_the_fast_way_knows_the_contracts_fields_and_which_may_be_missing(
    fast: type[msgspec.Struct], slow: type[contract.Transaction | contract.FraudScore | contract.FraudLabel]
) -> None:
    fields = typing.get_type_hints(slow)
    assert fast.__struct_fields__ == tuple(fields)
    assert frozenset(fields) - set(fast.__struct_fields__[: -len(fast.__struct_defaults__) or None]) == (
        slow.__optional_keys__
    )
    assert {name: without_unset(hint) for name, hint in typing.get_type_hints(fast).items()} == fields


def without_unset(hint: object) -> object:
    kinds = [each for each in typing.get_args(hint) if each is not msgspec.UnsetType]
    return hint if msgspec.UnsetType not in typing.get_args(hint) else kinds[0]


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        b"  \r\n\t" + GOOD + b"\n",
        with_fields(is_vpn="true", merchant_id='"m1"'),
        with_fields(merchant_id="null"),
        with_fields(amount="0"),
        with_fields(amount="1000000000000"),
        with_fields(amount="5e-324"),
        with_fields(transaction_id='"' + "\N{FAMILY}" * contract.MAX_ID_CHARS + '"'),
        with_fields(created_at='"2024-02-29T23:59:59.123456789-23:59"'),
        with_fields(transaction_id=r'"Zahlung \ud83d\ude00 \u00e9 \/"'),
        with_fields(currency='"EUR"', device='{"id":[1,{"a":null}],"os":"x"}'),
        with_fields(note='"' + "x" * 4_000 + '"'),
    ],
)
def test_what_producers_send_goes_the_fast_way(good: bytes) -> None:
    assert accepted([good]) == 1


@pytest.mark.parametrize(
    "odd",
    [
        None,
        b"",
        with_fields(note="[" * 199 + "]" * 199),
        with_fields(note="[" * 250 + "]" * 250),
        with_fields(note="9" * 4_200),
        with_fields(note="9" * 4_301),
        with_fields(note='"\udc80"'),
        GOOD[:-1] + b',"note":"\xff"}',
        GOOD[:-1] + b',"\xff":1}',
        GOOD[:-1] + b',"amount":-1}',
        GOOD[:-1] + b',"amount":13}',
        GOOD[:-1] + b',"a\\u006dount":13}',
        with_fields(note="NaN"),
        with_fields(amount="-0.0"),
        with_fields(amount="-0"),
        with_fields(amount="-1e-400"),
        with_fields(amount="1e400"),
        with_fields(amount="9" * 400),
        with_fields(amount="1" * 30 + "e-25"),
        with_fields(amount="0." + "1" * 800),
        with_fields(amount="1000000000000.0001"),
        with_fields(amount="true"),
        with_fields(is_vpn="1"),
        with_fields(is_vpn="null"),
        with_fields(merchant_id='""'),
        with_fields(transaction_id=r'"\ud800"'),
        with_fields(transaction_id=r'"\u0000"'),
        with_fields(user_id='"' + "\N{FAMILY}" * (contract.MAX_ID_CHARS + 1) + '"'),
        b"\xef\xbb\xbf" + GOOD,
        GOOD + b"\0",
        b"[" + GOOD + b"]",
        *(
            with_fields(created_at=f'"{text}"')
            for text in (
                "0000-01-01T00:00:00Z",
                "0001-01-01T00:00:00+23:59",
                "9999-12-31T23:59:59.999999999-23:59",
                "2026-02-29T00:00:00Z",
                "1900-02-29T00:00:00Z",
                "2000-02-29T00:00:00Z",
                "2026-04-31T00:00:00Z",
                "2026-13-01T00:00:00Z",
                "2026-01-01T24:00:00Z",
                "2026-12-31T23:59:60Z",
                "2026-01-01T00:00:00+24:00",
                "2026-01-01T00:00:00+00:60",
                "2026-01-01T00:00:00-00:00",
                "2026-01-01T00:00:00.Z",
                "2026-01-01T00:00:00.1234567890Z",
                "1969-12-31T23:59:59.9999Z",
                "2026-01-01t00:00:00z",
                "2026-01-01 00:00:00Z",
                "2026-01-01T00:00:00Z\\n",
                "\N{FULLWIDTH DIGIT TWO}026-01-01T00:00:00Z",
            )
        ),
    ],
)
def test_on_what_is_odd_the_fast_way_says_what_the_contract_says_or_nothing(odd: bytes | None) -> None:
    accepted([GOOD, odd, GOOD])


def test_a_value_that_is_left_to_the_contract_takes_nothing_from_its_neighbours() -> None:
    assert parse_plain(ParsedTransaction, [GOOD, b"x", None, GOOD], ("created_at",)).others == [1, 2]
    assert accepted([GOOD, b"x", None, GOOD]) == 2


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
).map(json.dumps)
_FIELD = st.sampled_from([*ParsedTransaction.__struct_fields__, "note"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_FIELD, _JUNK), st.binary(max_size=3), st.integers(0, 150))
def test_fields_of_any_kind_and_stray_bytes(texts: dict[str, str], stray: bytes, at: int) -> None:
    value = with_fields(**texts)
    accepted([value, value[:at] + stray + value[at:], value[:at] + value[at + 1 :]])


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 2e12), st.integers(0, 40), st.integers(0, 2**70))
@example(9007199254740993.0, 20, 2**53 + 1)
def test_amounts_are_the_same_to_the_last_bit(amount: float, digits: int, whole: int) -> None:
    texts = [repr(amount), f"{amount:.{digits}f}", f"{amount:.{digits}e}", str(whole), f"{whole}e-{digits}"]
    accepted([with_fields(amount=text) for text in texts])


@st.composite
def timestamps(draw: st.DrawFn) -> str:
    """Return what fits a layout: any digits, or digits that are more often a day and an hour than chance would do."""
    layout = draw(st.sampled_from(LAYOUTS))
    digits = str(draw(st.integers(0, 10 ** len(layout)))).zfill(len(layout))
    text = "".join(digits[at] if char == "0" else char for at, char in enumerate(layout))
    if draw(st.booleans()):
        parts = [draw(st.integers(0, most)) for most in (13, 32, 24, 60, 60)]
        text = "{}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format(text[:4], *parts, text[19:])
    return text.replace("+", draw(st.sampled_from("+-")))


def test_times_that_fit_a_layout_are_what_the_contract_makes_of_them() -> None:
    seen = set()

    @settings(max_examples=150, deadline=None)
    @given(st.lists(timestamps(), max_size=20))
    @example(["2024-02-29T23:59:59.5+14:00", "2023-02-29T00:00:00Z"])  # chance may find none of the first kind
    def agree(texts: list[str]) -> None:
        times, plain = epochs_ms(texts)
        for text, at_ms, is_plain in zip(texts, times.tolist(), plain.tolist(), strict=True):
            seen.add(is_plain)
            if is_plain:
                assert at_ms == contract.epoch_ms(text), text

    agree()
    assert seen == {True, False}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_days_of_1600_years_in_every_layout(layout: str) -> None:
    days = np.arange("1201-01-01", "2801-01-01", 37, dtype="datetime64[D]").astype(str).tolist()
    texts = [day + layout[10:].replace("+", "-").replace("0", "1") for day in days]
    times, plain = epochs_ms(texts)
    assert plain.all()
    assert times.tolist() == list(map(contract.epoch_ms, texts))


def score(**texts: str) -> bytes:
    """Return a good score with some fields as the JSON that is given."""
    fields = {
        "transaction_id": '"t1"',
        "user_id": '"u1"',
        "created_at": '"2026-01-01T10:00:00Z"',
        "fraud_probability": "0.25",
        "lstm_score": "25",
        "sequence_anomaly": "false",
        "insufficient_history": "true",
        "window_length": "3",
        "profile_day": '"2025-12-31"',
        "model_version": '"v1"',
        "scored_at": '"2026-01-01T10:00:01.5+01:00"',
    }
    return ("{" + ",".join(f'"{name}":{text}' for name, text in (fields | texts).items()) + "}").encode()


_ODD_FOR_SCORES = [
    "null", "true", '"1"', "-0.0", "1.0", "1e0", "1.5", "101", "2147483647", "2147483648", "1e30", '""', '"x"', "[]",
    '["why"]', "[null]",
    '[{"name":"vpn","sentence":"why","effect":1,"more":2}]', '[{"name":"vpn","effect":0.5}]',
    '[{"name":"vpn","sentence":"why","effect":"1"}]', '[{"name":"vpn","sentence":"why","effect":true}]',
    '"2026-01-01"', '"0000-01-01"', '"2026-02-29"', '"2026-01-01T00:00:00Z"', "1767261600",
    '"2026-01-01T24:00:00Z"', '"1969-12-31T23:59:59.9999-23:59"',
]  # fmt: skip


@pytest.mark.parametrize("field", [*ParsedScore.__struct_fields__, "unknown"])
def test_scores_and_labels_are_what_the_contract_makes_of_them(field: str) -> None:
    values = [score(), *(score(**{field: odd}) for odd in _ODD_FOR_SCORES)]
    kinds: list[tuple[Any, Any, list[bytes], tuple[str, ...]]] = [
        (ParsedScore, contract.FRAUD_SCORE, values, ("created_at", "scored_at")),
        (
            ParsedLabel,
            contract.FRAUD_LABEL,
            [each.replace(b"scored_at", b"labelled_at").replace(b"sequence_anomaly", b"is_fraud") for each in values],
            ("labelled_at",),
        ),
    ]
    for kind, adapter, its, times in kinds:
        plain = parse_plain(kind, its, times)
        assert plain.messages[0] is not None
        for place, fast in enumerate(plain.messages):
            if fast is not None:
                slow = adapter.validate_json(its[place])
                assert fast == kind(**slow), its[place]
                for name in times:
                    assert plain.times_ms[name][place] == contract.epoch_ms(slow[name])


def test_mutants() -> None:
    """20,000; the long form of tests/chaos/test_mutants.py takes a million."""
    begin = random.SystemRandom().randrange(2**63)
    share = accepted([mutant(seed, NOW_MS).value for seed in range(begin, begin + 20_000)]) / 20_000
    assert 0.3 < share < 0.9, f"mutants from {begin}"


_AT_ONCE = """
import sys, threading
from stream.parse import ParsedTransaction, parse_plain
value = b'{"transaction_id":"t","user_id":"anna","amount":1.5,"created_at":"2026-03-01T18:21:07Z","merchant_id":"m"}'
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
def take_up():
    together.wait()
    assert parse_plain(ParsedTransaction, [value] * 50, ["created_at"]).others == []
threads = [threading.Thread(target=take_up) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_the_first_messages_of_a_process_may_be_parsed_by_several_threads() -> None:
    # a decoder made by each thread ended every second such process with SIGSEGV
    started = [subprocess.Popen([sys.executable, "-c", _AT_ONCE]) for _ in range(10)]

    assert [process.wait(60) for process in started] == [0] * 10
