"""How a model wants to be fed, and what its answers mean.

One value, `Feed`, says it for every program. It goes into each model file
that we write, and is read back from there; what a file leaves open is filled
in from elsewhere, and `Feed.said_by` keeps who said what.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from tfnas import fields
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.fields import Fields

LOGITS, PROBABILITIES = "logits", "probabilities"
_SHOWN = 12  # labels of a list in a message


@dataclasses.dataclass(frozen=True)
class Feed:
    """How a model wants to be fed; `None` is what nobody said.

    Args:
        mean: What to subtract from the pixels, a number for each channel, on
            the 0 to 255 scale.
        std: What to divide by then.
        image_size: Height and width of the images.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and alpha).
        labels: Name of each class, in the order of the scores.
        scores: What the model gives: `"logits"` or `"probabilities"`.
        said_by: Name of a field to who said it, in words.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    labels: tuple[str, ...] | None = None
    scores: str | None = None
    said_by: Mapping[str, str] = dataclasses.field(
        default_factory=dict, compare=False
    )

    def by(self, who: str) -> Feed:
        """Returns the same facts, all of them said by `who`."""
        said = {name: who for name in FIELDS if getattr(self, name) is not None}
        return dataclasses.replace(self, said_by=said)

    def filled(self, other: Feed) -> Feed:
        """Returns these facts and, where they are silent, those of another."""
        facts = {name: getattr(self, name) for name in FIELDS}
        said = dict(self.said_by)
        for name in FIELDS:
            if facts[name] is None and getattr(other, name) is not None:
                facts[name] = getattr(other, name)
                said[name] = other.said_by.get(name, "")
        return Feed(**facts, said_by=said)

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as plain JSON, without who said them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name in FIELDS
            if (value := getattr(self, name)) is not None
        }


FIELDS = tuple(
    field.name for field in dataclasses.fields(Feed) if field.name != "said_by"
)


def _are(rule: fields.Rule, values: Any) -> bool:
    """Says whether these are a few values that follow a rule."""
    several = isinstance(values, (list, tuple)) and len(values) > 0
    return several and all(map(rule[1], values))


def _scale(rule: fields.Rule) -> fields.Rule:
    expected = f"{rule[0]}, or one for each channel"
    return expected, lambda v: rule[1](v) or _are(rule, v)


_RULES: dict[str, fields.Rule] = {
    "mean": _scale(fields.NUMBER),
    "std": _scale(fields.POSITIVE),
    "image_size": ("height and width", lambda v: (
        _are(fields.whole(1), v) and len(v) == 2
    )),
    "channels": fields.one_of((1, 3, 4)),
    "labels": ("a list of names", lambda v: _are(fields.STRING, v)),
    "scores": fields.one_of((LOGITS, PROBABILITIES)),
}


def from_json(record: Any, source: str) -> Feed:
    """Returns the facts in a record of `Feed.to_json`, checked.

    Args:
        record: What was read from a file.
        source: The file, for messages.

    Raises:
        ArtifactError: when a field is not what it should be.
    """
    file = Fields(record, source)
    facts: dict[str, Any] = {}
    for name, rule in _RULES.items():
        value = file.need(name, fields.optional(rule))
        if value is not None and name in ("mean", "std"):
            several = value if isinstance(value, Sequence) else [value]
            value = tuple(map(float, several))
        plain = value is None or isinstance(value, (int, str))
        facts[name] = value if plain else tuple(value)
    feed = Feed(**facts)
    require_scale(feed, source)
    return feed


def require_scale(feed: Feed, source: str) -> None:
    """Refuses a scale that is not one number for each channel.

    Raises:
        ArtifactError: when the lengths of mean and std differ, or are not
            the number of channels.
    """
    lengths = {len(v) for v in (feed.mean, feed.std) if v is not None}
    known = {1, feed.channels} if feed.channels else {1, 3, 4}
    if len(lengths - {1}) > 1 or not lengths <= known:
        raise ArtifactError(
            f"{source}: fields `mean` and `std` must be one number for each "
            f"of {feed.channels or '1, 3 or 4'} channels. "
            f"Received: {(feed.mean, feed.std)}"
        )


def order_of(
    labels: Sequence[str], class_names: Sequence[str], source: str, data: str
) -> tuple[int, ...]:
    """Returns, for each class of a data set, its place among the scores.

    Data that only number their classes have no names to compare.

    Args:
        labels: Name of each score of a model.
        class_names: Name of each class of the data.
        source: The model, for the message.
        data: The data, for the message.

    Raises:
        ConfigError: when they are not the same names, or one occurs twice;
            the message has both lists.
    """
    if tuple(labels) == tuple(class_names):  # a name may occur twice in both
        return tuple(range(len(class_names)))
    place = {name: i for i, name in enumerate(labels)}
    numbers = tuple(str(i) for i in range(len(labels)))
    if tuple(class_names) == numbers and not set(place) & set(numbers):
        return tuple(range(len(numbers)))
    same = set(place) == set(class_names)
    if not same or not len(place) == len(labels) == len(class_names):
        lost = [name for name in class_names if name not in place]
        more = [name for name in labels if name not in set(class_names)]
        what = "; ".join(
            f"{words} {listing(names)}"
            for words, names in (
                ("the model lacks", lost), ("the data lack", more)
            ) if names
        )
        raise ConfigError(
            f"{source}: expected the {len(class_names)} classes of {data}: "
            f"{listing(class_names)}. Received: {len(labels)} labels: "
            f"{listing(labels)} ({what or 'a name occurs twice'})"
        )
    return tuple(place[name] for name in class_names)


def listing(names: Sequence[str]) -> str:
    """Returns names as one text, the first dozen of them."""
    shown = ", ".join(map(str, names[:_SHOWN]))
    left = len(names) - _SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def words(values: Sequence[float]) -> str:
    """Returns a scale as text: one number where all are the same."""
    parts = [f"{value:.6g}" for value in values]
    return parts[0] if len(set(parts)) == 1 else ", ".join(parts)
