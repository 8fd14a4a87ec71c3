"""The tag contract: which tags select a volume, which tags a snapshot has, and how both are read.

These tags hold all state of this software, so all parsing and building of them is here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from lambda_function.escapes import is_visible
from lambda_function.model.ec2 import Consistency
from lambda_function.model.period import Period

MAX_TAGS = 50
"""User tags per resource (EC2 user guide, "Tag restrictions")."""

MAX_TAG_VALUE = 256

_PERIOD_ORDER = {period.value: period.rank for period in Period}


@dataclass(frozen=True)
class TagKeys:
    """All keys, derived from the selection tag's key (environment variable `TAG_KEY`)."""

    selection: str

    @property
    def plural(self) -> str:
        """The key with an S, which the cron script's README used in one place; it selects too."""
        return self.selection + ("S" if self.selection[-1:].isupper() else "s")

    @property
    def period(self) -> str:
        """Our key: only snapshots that have it are ever changed or deleted."""
        return f"{self.selection}-PERIOD"

    @property
    def consistency(self) -> str:
        return f"{self.selection}-CONSISTENCY"

    @property
    def instance(self) -> str:
        return f"{self.selection}-INSTANCE"

    @property
    def set(self) -> str:
        """What has the same value belongs to one instant or one freeze."""
        return f"{self.selection}-SET"

    @property
    def written(self) -> frozenset[str]:
        """The keys that this software writes on snapshots."""
        return frozenset((self.period, self.consistency, self.instance, self.set))

    def searched(self) -> tuple[str, ...]:
        """The values of the `tag-key` filter: one listing finds keys that select and their near misses.

        In a filter `*` is any text and `?` any one character (EC2 user guide, "Find your Amazon EC2 resources": "You
        can use wildcards with the filter values"); a key that `TAG_KEY` may have contains neither. Only what stands
        between words is `*`, and only in a long key: EC2 must not list every volume that has a tag.
        """
        key = self.selection
        words = [word for word in re.split("[-_. ]|(?<=[a-z])(?=[A-Z])", key) if word] or [key]
        spellings = _spellings(words)
        between = "*" if len(key) >= _LONG else "?"
        apart = [between.join(spelling) for spelling in spellings]
        # Two signs more: an S and a blank.
        found = [form.format(text) for text in apart for form in ("{}", "{}?", "?{}", "?{}?", "{}??")]
        found += [*_with_a_sign_within(key), *_with_a_sign_within(self.plural)]
        found += map(_singular, apart)
        if between == "?":
            found += map("".join, spellings)
        return tuple(dict.fromkeys((key, self.plural, key.lower(), key.upper(), *found)))


_LONG = 6
"""Characters of a key, from which on `*` between its words finds few others."""

_PIECES = 8

_MIXTURES = 9
"""Two words, each in capitals, small letters or with a capital."""

_CASES = (str, str.lower, str.upper, str.title)


def _singular(key: str) -> str:
    """The key without its S: if TAG_KEY is the old script's plural, some volumes may have the singular."""
    return key[:-1] if key[-1:] in ("S", "s") and len(key) > 1 else key


def _spellings(words: Sequence[str]) -> list[tuple[str, ...]]:
    """The words in the cases that people write, as they are first; every mixture only if there are few."""
    first, *rest = words
    alike = [tuple(map(case, words)) for case in _CASES]
    camel = [(first.title(), *map(str.lower, rest)), (first.lower(), *map(str.title, rest))]
    by_word = [dict.fromkeys(case(word) for case in _CASES) for word in words]
    mixed = product(*by_word) if prod(map(len, by_word)) <= _MIXTURES else ()
    return list(dict.fromkeys((*alike, *camel, *mixed)))


def _with_a_sign_within(key: str) -> Iterator[str]:
    """The key with one sign too many anywhere: each piece in turn gives way to one `?` more than it has signs."""
    size = -(-len(key) // _PIECES)
    for start in range(0, len(key), size):
        before, piece, after = key[:start], key[start : start + size], key[start + size :]
        if before or after:
            yield f"{before}{'?' * (len(piece) + 1)}{after}"


def policy_named_by(tags: Mapping[str, str], keys: TagKeys) -> str | None:
    """The policy that these tags name; the exact key wins over the one with an S. None: not selected."""
    name = tags.get(keys.selection)
    return tags.get(keys.plural) if name is None else name


def near_miss(tags: Mapping[str, str], keys: TagKeys) -> str | None:
    """The misspelt key on a volume that nothing selects, if there is one."""
    if policy_named_by(tags, keys) is not None:
        return None
    letters = _letters_meant(keys)
    return next((key for key in tags if _letters(key) in letters), None)


@lru_cache(maxsize=16)
def _letters_meant(keys: TagKeys) -> frozenset[str]:
    """Of the key, its plural and its singular; none if the key consists of dashes."""
    spellings = (keys.selection, keys.plural, _singular(keys.selection))
    return frozenset(map(_letters, spellings)) if _letters(keys.selection) else frozenset()


@lru_cache(maxsize=4096)  # volumes have the same keys
def _letters(key: str) -> str:
    """The key without its case, its separators (dashes, underscores, dots, blanks) and signs that cannot be seen."""
    folded = unicodedata.normalize("NFKC", key).casefold()
    return "".join(sign for sign in folded if not _is_passed_over(sign))


def _is_passed_over(sign: str) -> bool:
    return sign in " ." or unicodedata.category(sign) in ("Pd", "Pc") or not is_visible(sign)


_RESERVED = ("aws:dlm:", "aws:backup:")


def is_ours(tags: Mapping[str, str], keys: TagKeys) -> bool:
    """Whether a snapshot with these tags may be ours: it has our key, and no tag that AWS reserves to its own tools.

    Those copy a volume's tags, ours included, onto their snapshots, and nobody else can set a key that begins with
    `aws:` (EC2 user guide, "Tag restrictions").
    """
    return keys.period in tags and not any(key.startswith(_RESERVED) for key in tags)


def parse_periods(value: str) -> tuple[str, ...]:
    """The words of a period tag, in canonical order and once each.

    Words that are not our periods are kept: they may be another tool's, and dropping one would
    delete what it keeps.
    """
    return ordered_periods(value.split())


def ordered_periods(words: Iterable[str]) -> tuple[str, ...]:
    """Known periods first, shortest first; then unknown words alphabetically."""
    return tuple(sorted(set(words), key=lambda word: (_PERIOD_ORDER.get(word, len(Period)), word)))


def format_periods(words: Iterable[str]) -> str:
    """The period tag's value for these words."""
    return " ".join(ordered_periods(words))


def has_room_for_periods(words: Iterable[str]) -> bool:
    """Whether every period's word can stand beside these in the period tag."""
    return len(format_periods((*words, *_PERIOD_ORDER))) <= MAX_TAG_VALUE


def own_tags(keys: TagKeys, period: Period, consistency: Consistency, instance_ids: tuple[str, ...]) -> dict[str, str]:
    """The tags that every new snapshot bears, given in the create call itself.

    The set's id is only a place holder here, so that it has its room among the 50: each attempt has an id of its own.
    """
    tags = {keys.period: period.value, keys.consistency: consistency.value, keys.set: ""}
    if instance_ids:
        joined = " ".join(instance_ids)
        # A Multi-Attach volume has up to 16 instances; 12 ids fit into a tag's value.
        tags[keys.instance] = joined if len(joined) <= MAX_TAG_VALUE else joined[:MAX_TAG_VALUE].rsplit(" ", 1)[0]
    return tags


def copied_tags(volume_tags: Mapping[str, str], keys: TagKeys) -> dict[str, str]:
    """The volume's tags that a snapshot takes over.

    Not those reserved to AWS, and not ours: a volume restored from one of our snapshots may carry
    them, and they would be stale.
    """
    return {
        key: value
        for key, value in volume_tags.items()
        if not key.lower().startswith("aws:") and key not in keys.written
    }


def snapshot_tags(
    volume_tags: Mapping[str, str], own: Mapping[str, str], keys: TagKeys
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Tags for a new snapshot, and the keys that did not fit under EC2's limit of 50.

    Ours come first, then the selection tag and `Name`, which later runs and people need, then the rest.
    """
    first = (keys.selection, keys.plural, "Name")
    copied = copied_tags(volume_tags, keys)
    by_weight = [key for key in first if key in copied] + [key for key in copied if key not in first]
    room = MAX_TAGS - len(own)
    chosen = {key: copied[key] for key in by_weight[:room]}
    return {**own, **chosen}, tuple(by_weight[room:])


def set_can_copy(volume_tags: Mapping[str, str], own: Mapping[str, str], keys: TagKeys) -> bool:
    """Whether `CreateSnapshots` may copy this volume's tags itself: no collision with ours, 50 at most."""
    return not (keys.written & volume_tags.keys()) and len(copied_tags(volume_tags, keys)) + len(own) <= MAX_TAGS
