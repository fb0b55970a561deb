"""What the demo shows: it fits the terminal, and says what happened."""

import io
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console, ConsoleDimensions
from rich.live import Live
from typer.testing import CliRunner

from stream.cli import app
from stream.demo_card import HEIGHT, Payment, bar, card
from stream.demo_next import next_lines
from stream.demo_picture import recorded
from stream.demo_tally import Tally
from stream.demo_traffic import DemoRecord
from stream.demo_view import LiveView, board
from tests.pages import ROOT
from tests.unit.test_demo import score_of


def tally_of(*verdicts: tuple[str, bool, bool]) -> Tally:
    """Return a tally of payments of one user: id, whether it was flagged, whether it is a fraud."""
    tally = Tally(begun=0.0, threshold=0.163)
    for place, (name, is_flagged, is_fraud) in enumerate(verdicts):
        amount = b'{"amount":%d.5,"is_vpn":true}' % (10 * place)
        tally.sent(DemoRecord(b"u", amount, name, is_fraud), float(place), "live")
        score = score_of(name, flagged=is_flagged)
        if is_flagged:
            score["reasons"] = [{"name": "vpn", "sentence": f"through a VPN, {name}; " + "x" * 200, "effect": 0.5}]
        tally.scored(score, place + 0.5)
    tally.sent(DemoRecord(b"u", None, None, is_fraud=False), 1.0, "live")
    tally.dead("null-value")
    return tally


def drawn(tally: Tally, width: int, height: int, *, paused: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(board(tally, "live", 100, ConsoleDimensions(width, height), paused=paused))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 10), (100, 30), (129, 50), (130, 25), (160, 50)])
def test_the_board_fits_the_terminal_whatever_it_shows(width: int, height: int) -> None:
    names = [(f"{place:012d}" * 4, place % 2 == 0, place % 3 == 0) for place in range(30)]
    for tally in (tally_of(*names), tally_of(("only", False, True)), Tally(begun=0.0, threshold=0.163)):
        lines = drawn(tally, width, height)

        assert len(lines) < height
        assert max(map(len, lines)) <= width


def test_it_says_what_was_caught_and_missed_and_whose_payments_they_are() -> None:
    tally = tally_of(("b", False, True), ("a", True, True), ("c", True, False), ("d", False, False))
    page = "\n".join(drawn(tally, 160, 50))

    assert "4 scores   2 flagged   frauds: 1 caught, 1 missed" in page
    assert "1 dead letter: 1 null-value" in page
    assert "the last 2 payments of u" in page  # up to the one that was flagged, whatever came after it
    assert "because through a VPN, a" in page
    assert "10.50" in page
    assert "20.50" not in page
    assert "! is flagged, a score above 0.163   space pauses" in page
    assert "paused" not in page
    assert drawn(tally, 160, 50, paused=True)[0].startswith("paused")


def test_on_eighty_columns_scores_stand_beside_the_card_and_a_reason_can_be_read() -> None:
    lines = drawn(tally_of(("a", True, True), ("b", False, False)), 80, 24)

    assert any("the last 1 payment of u" in line and line.endswith("scored, newest first") for line in lines)
    assert [line.split("│")[2].split() for line in lines if line.count("│") == 2][1:3] == [
        ["u", "0.100"],
        ["u", "0.900!"],
    ]
    [flagged] = [line for line in lines if "through a VPN, a" in line and "because" not in line]
    assert flagged.split()[:5] == ["u", "03-04", "12:00", "0.900!", "fraud"]


def test_the_board_says_less_of_a_score_where_there_is_less_room() -> None:
    tally = tally_of(("a", True, True))
    columns = [drawn(tally, width, 24)[6].split("│")[-1].split() for width in (79, 80, 90, 100)]

    assert columns == [[], ["user", "score"], ["user", "score", "truth"], ["user", "paid", "at", "score", "truth"]]


def test_a_board_that_stands_still_is_drawn_again_only_for_a_terminal_of_another_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")  # rich redraws nothing on one that is dumb
    written = io.StringIO()
    console = Console(file=written, width=100, height=30, force_terminal=True)
    tally = tally_of(("a", True, True))

    def drawn_now(view: LiveView) -> str:
        written.seek(written.truncate(0))
        view.pause(tally, "live")
        return written.getvalue()

    with Live(console=console, auto_refresh=False) as live:
        view = LiveView(console, 100, live)
        assert "space goes on" in drawn_now(view)
        assert drawn_now(view) == ""
        console.size = ConsoleDimensions(80, 24)
        assert "space goes on" in drawn_now(view)
        assert drawn_now(view) == ""
        view.show(tally, "live")
        assert "space goes on" in drawn_now(view)


def test_who_is_flagged_stays_on_the_card_for_some_seconds() -> None:
    tally = Tally(begun=0.0, threshold=0.163)
    for user, at in (("first", 1.0), ("second", 3.0), ("third", 5.5)):
        tally.sent(DemoRecord(user.encode(), b'{"amount":1}', user, is_fraud=False), at, "live")
        tally.scored(score_of(user, flagged=True) | {"user_id": user}, at)
        assert tally.on_card[0] == ("third" if user == "third" else "first")


def test_a_card_has_its_height_and_marks_what_is_marked() -> None:
    for many in (0, 3, 12):
        payment = Payment("2026-03-04T23:30:00Z", 40.0, True, 0.7, is_flagged=True, is_fraud=True)
        console = Console(file=io.StringIO(), width=100)
        with console.capture() as capture:
            console.print(card("u" if many else "", [payment] * many, ["one", "two", "three"]))
        page = capture.get()

        assert len(page.splitlines()) == HEIGHT
        assert page.count("night VPN 0.700! fraud") == min(many, 10)
        assert "because one" in page
        assert "three" not in page


def test_bars_are_as_long_as_the_amounts_are_large() -> None:
    assert bar(80, 80) == "█" * 10
    assert bar(40, 80) == "█" * 5 + " " * 5
    assert bar(0.01, 80) == "▏" + " " * 9
    assert bar(0, 80) == bar(0, 0) == " " * 10


def test_the_picture_asks_nobody_on_the_web(tmp_path: Path) -> None:
    with recorded(tmp_path / "demo.svg", 100) as view:
        view.show(tally_of(("a", True, True)), "live")
    picture = (tmp_path / "demo.svg").read_text()
    ET.fromstring(picture)  # noqa: S314 -- our own; it is well formed

    assert "payment" in picture
    assert "caught" in picture
    assert "url(http" not in picture
    assert "@font-face" not in picture


def test_until_the_first_score_it_counts_what_is_sent() -> None:
    tally = Tally(begun=0.0, threshold=0.163)
    assert drawn(tally, 80, 24)[0].split("   ") == ["starting the scorer", "0 of 100", "0 sent"]
    tally.sent(DemoRecord(b"u", b"{}", "a", is_fraud=False), 1.0, "history")
    assert drawn(tally, 80, 24)[0].split("   ") == ["starting the scorer", "0 of 100", "1 sent"]
    tally.scored(score_of("a", flagged=False), 2.0)
    assert drawn(tally, 80, 24)[0].split("   ") == ["live", "1 of 100"]


def test_in_a_clone_a_real_kafka_is_the_next_step_under_a_heading_of_the_readme() -> None:
    first, how = list(next_lines("tenfold", in_clone=True))[1:3]
    [heading] = re.findall("“(.*)”", how)

    assert first.strip() == "make kafka"
    assert len(how) <= 80
    assert f"\n## {heading}\n" in (ROOT / "README.md").read_text()
    assert not any("make" in line.split() for line in next_lines("tenfold", in_clone=False))


@pytest.mark.parametrize("called_as", ["/somewhere/bin/tenfold", "stream/__main__.py"])
def test_each_command_to_go_on_with_is_one(called_as: str) -> None:
    commands = [line.split() for line in next_lines(called_as, in_clone=False) if "tenfold " in line]

    assert len(commands) == 3
    for tenfold, name, *options in commands:
        assert tenfold == (called_as if called_as.endswith("tenfold") else "tenfold")
        shown = CliRunner().invoke(app, [name, *options, "--help"], terminal_width=200)
        assert shown.exit_code == 0
        assert all(option in shown.output for option in options if option.startswith("--"))
