"""The tag contract: which tags select a volume, which tags a snapshot has, and how both are read.

These tags hold all state of this software, so all parsing and building of them is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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

    def near_misses(self) -> tuple[str, ...]:
        """Other spellings that a person may have typed: other case, other separators."""
        spellings: dict[str, None] = {}
        # If TAG_KEY is the old script's plural, some volumes may have the singular.
        singular = [self.selection[:-1]] if self.selection[-1:] in ("S", "s") and len(self.selection) > 1 else []
        for key in (self.selection, self.plural, *singular):
            words = re.split("[-_ ]", key)
            for case in (str, str.lower, str.upper, str.title):
                for separator in ("-", "_", "", " "):
                    spellings[separator.join(map(case, words))] = None
            spellings[key.capitalize()] = None
        return tuple(spelling for spelling in spellings if spelling not in (self.selection, self.plural))

    def searched(self) -> tuple[str, ...]:
        """The values of the `tag-key` filter: keys that select and their near misses, in one listing."""
        return (self.selection, self.plural, *self.near_misses())


def policy_named_by(tags: Mapping[str, str], keys: TagKeys) -> str | None:
    """The policy that these tags name; the exact key wins over the one with an S. None: not selected."""
    name = tags.get(keys.selection)
    return tags.get(keys.plural) if name is None else name


def near_miss(tags: Mapping[str, str], keys: TagKeys) -> str | None:
    """The misspelt key on a volume that nothing selects, if there is one."""
    if policy_named_by(tags, keys) is not None:
        return None
    return next((key for key in keys.near_misses() if key in tags), None)


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
