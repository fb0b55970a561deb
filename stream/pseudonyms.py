"""Names that stand for users where their data lies: keyed pseudonyms, or the ids themselves where no key is set. Pure.

Each key makes a generation, and the keys are chained::

    name under key 1 = HMAC-SHA256(key 1, user id)
    name under key n = HMAC-SHA256(key n, name under key n - 1)

So what lies under an older generation is brought forward without knowing whom it is of, and who has got hold of older
keys alone can confirm no guess about a newer name. All keys stay on the list, since a name is made with all of them.
"""

from base64 import b64decode
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hmac import digest
from string import hexdigits
from typing import Self

from stream.errors import TenfoldError

KEY_BYTES = 32

_NAME_BYTES = 18  # of the HMAC's 32: 144 bits, which are 24 characters without padding
_TAG_BYTES = 4


class PseudonymsError(TenfoldError):
    """Windows lie under keys that are not this process's."""


@dataclass(frozen=True)
class Pseudonyms:
    """How users are named under ``keys``, the oldest first; without any they have their ids."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """A word for each generation, from 0, the clear ids, on: which it is, and of which keys; it tells neither."""
        tags = [""]
        for generation, key in enumerate(self.keys, 1):
            tags.append(f"p{generation}-{digest(key, f'tag {tags[-1]}'.encode(), 'sha256')[:_TAG_BYTES].hex()}")
        return tuple(tags)

    @property
    def tag(self) -> str:
        """The word for the newest generation; none where users have their ids."""
        return self.tags[-1]

    @property
    def older(self) -> "list[Pseudonyms]":
        """The generations before this one, clear ids first."""
        return [Pseudonyms(self.keys[:generation]) for generation in range(len(self.keys))]

    def of(self, users: Sequence[bytes]) -> Sequence[bytes]:
        """Return the name of each user: its id where there is no key, else ``p<generation>.`` and 24 characters."""
        return self.forward(users, 0)

    def forward(self, names: Sequence[bytes], generation: int) -> Sequence[bytes]:
        """Return what names under an older generation are under the newest."""
        for number, key in enumerate(self.keys[generation:], generation + 1):
            prefix = b"p%d." % number
            names = [
                prefix + b2a_base64(digest(key, name, "sha256")[:_NAME_BYTES], newline=False).translate(_URL_SAFE)
                for name in names
            ]
        return names

    def every(self, user: bytes) -> list[bytes]:
        """Return all names that a user has had, the id first."""
        return [Pseudonyms(self.keys[:generation]).of([user])[0] for generation in range(len(self.keys) + 1)]

    def epoch(self, stem: str) -> str:
        """Return the name of an epoch of windows that lie under the newest generation."""
        return f"{stem}.{self.tag}" if self.keys else stem

    def generation_of(self, epoch: str) -> int:
        """Return the generation under which an epoch's windows lie.

        Raises:
            PseudonymsError: it is none of these keys'.
        """
        tag = epoch.partition(".")[2]
        if tag in self.tags:
            return self.tags.index(tag)
        raise PseudonymsError(
            f"the windows lie under pseudonym keys {tag}, and TENFOLD_PSEUDONYM_KEYS has {self.tag or 'none'}: give "
            "this process the list that wrote them, newest key first, or stop all scorers and run "
            "`tenfold reset --rebuild` to do without these windows (docs/pseudonyms.md)"
        )

    def is_older(self, epoch: str, than: str) -> bool:
        """Return whether an epoch is of an older generation than another; one under keys that are not these is not."""
        tags = self.tags[: self.generation_of(than)]
        return epoch.partition(".")[2] in tags

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a list of keys, newest first, separated by commas; each at least 32 bytes in hex or base64.

        Raises:
            ValueError: it is none; the message says which key is at fault, and quotes nothing.
        """
        if not text.strip():
            return cls()
        keys = [_key(each.strip(), place) for place, each in enumerate(text.split(","), 1)]
        if len(set(keys)) < len(keys):
            raise ValueError("has the same key twice: a rotation needs a new one")
        return cls(tuple(reversed(keys)))


#: Where users have their ids.
CLEAR = Pseudonyms()

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def _key(text: str, place: int) -> bytes:
    try:
        is_hex = not set(text) - set(hexdigits)
        key = bytes.fromhex(text) if is_hex else b64decode(text.translate({45: "+", 95: "/"}), validate=True)
    except ValueError:
        raise ValueError(f"key {place} is neither hex nor base64: make one with `openssl rand -hex 32`") from None
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"key {place} has {len(key)} bytes, and needs {KEY_BYTES}: make one with `openssl rand -hex 32`"
        )
    return key
