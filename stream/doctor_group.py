"""Who is in the scorers' group: what a stranger reads with it is never scored."""

from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaException

from stream.clients import is_client_of_tenfold
from stream.doctor_finding import Finding, error, warning
from stream.members import Member
from stream.plurals import count_of
from stream.settings import Settings


def scorers_among(members: Sequence[Member], settings: Settings) -> int:
    """Return how many of the members are scorers, told by their client ids."""
    return sum(is_client_of_tenfold(each.client_id, settings) for each in members)


def judge_members(members: Sequence[Member], settings: Settings) -> Iterator[Finding]:
    """Yield whether somebody else holds partitions of the input topic; pure.

    A client id is what a client calls itself: this is a warning, for a scorer may have been given another one.
    """
    strangers = [
        f"{each.client_id} ({each.host}) holds {count_of(len(held), 'partition')} ({', '.join(map(str, held))})"
        for each in members
        if (held := each.partitions.get(settings.input_topic)) and not is_client_of_tenfold(each.client_id, settings)
    ]
    if strangers:
        yield warning(
            "stranger-in-group",
            f"in the scorers' group {settings.group_id}, by the client id no scorer: {'; '.join(strangers)} of "
            f"{settings.input_topic}, whose payments are not scored meanwhile",
            "end it or give it a group of its own (docs/runbooks/partitions-unowned.md); if it is a scorer with a "
            "client.id of its own, set the doctor's TENFOLD_KAFKA__CLIENT_ID alike",
        )


def refused_group(group: str, failed: KafkaException) -> Finding:
    """Return that this account may not see the group."""
    what = f"this account may not see the group {group} ({failed.args[0].name()})"
    return error("no-right", what, "allow Read on the group (deploy/acls.md)")
