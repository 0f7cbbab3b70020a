"""Texts for language models: vocabulary, columns, chunks of steps.

Source: how the release of AutoShrink (Zhang et al. 2020) reads the Penn
Treebank, after Merity et al. 2018.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnas import artifacts
from tfnas import fields
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.fields import Fields

FORMAT = "tfnas-vocabulary/1"
EOS, UNK = "<eos>", "<unk>"
PARTS = ("train", "valid", "test")
SCHEME = "ptb:"
_MAX_BYTES = 1 << 30
_MIN_STEPS = 5


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The words that a language model knows; a word is its position.

    Args:
        words: The words, each once.
    """

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @classmethod
    def of(cls, lines: Iterable[str], source: str) -> Vocabulary:
        """Collects words in order of first appearance, and `<eos>`.

        Args:
            lines: Sentences of words between spaces.
            source: Where they are from, for the error message.

        Raises:
            ArtifactError: when there is no word.
        """
        words = dict.fromkeys(w for line in lines for w in tokens(line))
        if set(words) <= {EOS}:
            raise ArtifactError(
                f"{source}: expected words between spaces. Received: none"
            )
        return cls(tuple(words))

    def encode(self, lines: Sequence[str], source: str) -> np.ndarray:
        """Returns the numbers of the words of a text, int32 `(tokens,)`.

        A word outside the vocabulary is read as `<unk>`.

        Raises:
            ArtifactError: when `<unk>` is no word of the vocabulary; the
                message names the line.
        """
        unknown = self._index.get(UNK)
        numbers = []
        for i, line in enumerate(lines):
            for word in tokens(line):
                number = self._index.get(word, unknown)
                if number is None:
                    raise ArtifactError(
                        f"{source}: line {i + 1}: expected words of the "
                        f"vocabulary, which has no {UNK} for others. "
                        f"Received: {word!r}"
                    )
                numbers.append(number)
        return np.array(numbers, np.int32)

    def save(self, path: artifacts.PathLike) -> None:
        """Writes the vocabulary as JSON, atomically."""
        artifacts.write_json(path, {"format": FORMAT, "words": self.words})

    @classmethod
    def load(cls, path: artifacts.PathLike) -> Vocabulary:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: when the file is missing or of another form.
        """
        held = Fields(artifacts.read_json(path, FORMAT), str(path))
        words = held.each("words", fields.STRING)
        if len(set(words)) != len(words):
            raise ArtifactError(
                f"{path}: field `words` must hold each word once"
            )
        return cls(words)


def tokens(line: str) -> list[str]:
    """Returns the words of a line and the `<eos>` that ends it."""
    return [*line.split(), EOS]


@dataclasses.dataclass(frozen=True, eq=False)
class Text:
    """A text to learn from, one to choose by and one to test on.

    Args:
        name: As in the configuration.
        vocabulary: The words.
        train: Numbers of the words, int32 `(tokens,)`.
        valid: The same of the text that choices are made on.
        test: The same of the text that no choice looks at.
    """

    name: str
    vocabulary: Vocabulary
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 of vocabulary and texts, which the files may change."""
        digest = hashlib.sha256("\n".join(self.vocabulary.words).encode())
        for part in (self.train, self.valid, self.test):
            digest.update(f"\n{len(part)}\n".encode())
            digest.update(part.tobytes())
        return digest.hexdigest()


def is_text(name: str) -> bool:
    """Says whether the name of a data set is that of a text."""
    return name.startswith(SCHEME)


def load_text(
    config: Mapping[str, Any], vocabulary: Vocabulary | None = None
) -> Text:
    """Reads `train.txt`, `valid.txt` and `test.txt` of a folder.

    They hold a sentence on each line, words between spaces.

    Args:
        config: A dict or ConfigDict with
            `name`: "ptb:<dir>";
            `limit_train`, `limit_valid`, `limit_test` (null): use at most
                that many lines, the first ones.
        vocabulary: The words that a model knows; `None` takes those of the
            lines, in order of first appearance over the three files.

    Returns:
        The text.

    Raises:
        ConfigError: when the name is not that of a folder.
        ArtifactError: when a file is missing, empty, or has a word outside
            a vocabulary without `<unk>`.
    """
    name = config["name"]
    folder = _folder(str(name))
    paths = {part: folder / f"{part}.txt" for part in PARTS}
    lines = {
        part: _read_lines(path, config.get(f"limit_{part}"))
        for part, path in paths.items()
    }
    if vocabulary is None:
        everything = itertools.chain.from_iterable(lines.values())
        vocabulary = Vocabulary.of(everything, str(folder))
    return Text(
        name, vocabulary,
        *(vocabulary.encode(lines[part], str(paths[part])) for part in PARTS),
    )


def check(name: str) -> None:
    """Refuses the name of a text that is not there.

    Raises:
        ConfigError: when the name is not that of a folder.
        ArtifactError: naming a file that it lacks.
    """
    for part in PARTS:
        path = _folder(name) / f"{part}.txt"
        if not path.is_file():
            raise ArtifactError(f"{path}: No such file or directory")


def _folder(name: str) -> pathlib.Path:
    folder = pathlib.Path(name.removeprefix(SCHEME))
    if not is_text(name) or not folder.is_dir():
        raise ConfigError(
            f"`name` must be {SCHEME}<dir>, a folder with "
            f"{', '.join(f'{part}.txt' for part in PARTS)}. "
            f"Received: name={name}"
        )
    return folder


def _read_lines(path: pathlib.Path, limit: int | None) -> list[str]:
    lines = artifacts.read_text(path, _MAX_BYTES).splitlines()[:limit]
    if not lines:
        raise ArtifactError(
            f"{path}: expected lines of words. Received: {limit=}, none"
        )
    return lines


def columns(numbers: np.ndarray, batch_size: int, name: str) -> np.ndarray:
    """Cuts a text into columns that are read side by side.

    Args:
        numbers: `(tokens,)`.
        batch_size: Number of columns.
        name: What the text is, for the error message.

    Returns:
        `(rows, batch_size)`; a remainder that fills no row is dropped.

    Raises:
        ConfigError: when there are less than two rows: nothing to predict.
    """
    rows = len(numbers) // batch_size
    if rows < 2:
        raise ConfigError(
            f"the {name} text must have at least two words for each column of "
            f"a batch. Received: {len(numbers)} words, {batch_size=}"
        )
    return numbers[: rows * batch_size].reshape(batch_size, rows).T


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How many steps an update takes.

    Args:
        base: The usual number.
        short: Probability of half that base.
        std: Standard deviation around the base; 0 always takes the base.
        most: No update takes more.
    """

    base: int = 35
    short: float = 0.05
    std: float = 0.0
    most: int = 55

    def draw(self, rows: int, seed: int, epoch: int) -> list[int]:
        """Draws the steps of each update of an epoch.

        Each update has draws of its own, a pure function of seed, epoch and
        its number; the last takes what is left.

        Args:
            rows: Rows of the columns; one less is predicted.
            seed: Not negative.
            epoch: Not negative.
        """
        halves, noises = (
            np.random.default_rng([seed, epoch, stream]) for stream in (0, 1)
        )
        lengths: list[int] = []
        left = rows - 1
        while left:
            base = self.base / 2 if halves.random() < self.short else self.base
            length = int(base)
            if self.std:
                length = int(base + self.std * noises.standard_normal())
                length = min(max(length, _MIN_STEPS), self.most)
            lengths.append(min(max(length, 1), left))
            left -= lengths[-1]
        return lengths


@dataclasses.dataclass(frozen=True, eq=False)
class Chunks:
    """Columns in chunks of steps, for one pass of `train.loop.Loop`.

    Args:
        columns: `(rows, batch)`.
        lengths: Steps of each chunk.
    """

    columns: np.ndarray
    lengths: Sequence[int]

    def __len__(self) -> int:
        return len(self.columns) - 1

    def num_batches(self, batch_size: int, drop_remainder: bool = False) -> int:
        """Returns the number of chunks."""
        return len(self.lengths)

    def batches(self, batch_size: int, **order: Any) -> Any:
        """Returns the chunks in order.

        Args:
            batch_size: Not used: the columns are the batch.
            **order: Not used: a text is read from its start.

        Returns:
            A `tf.data.Dataset` of words `(batch, steps)`, and of the words
            that follow, `(batch * steps,)`; both int32.
        """
        import tensorflow as tf

        text = tf.constant(self.columns.T)
        starts = np.cumsum([0, *self.lengths[:-1]])

        def cut(start: Any, length: Any) -> tuple[Any, Any]:
            after = text[:, start + 1 : start + 1 + length]
            return text[:, start : start + length], tf.reshape(after, [-1])

        rows = (starts.astype(np.int32), np.array(self.lengths, np.int32))
        return tf.data.Dataset.from_tensor_slices(rows).map(cut)


def read_vectors(
    path: artifacts.PathLike, vocabulary: Vocabulary, width: int
) -> dict[int, np.ndarray]:
    """Reads the vectors of the words that a file such as GloVe's has.

    Args:
        path: Text with a word and `width` numbers on each line.
        vocabulary: The words wanted.
        width: Length of a vector.

    Returns:
        Vectors float32 `(width,)` by the number of the word.

    Raises:
        ArtifactError: when a line of a known word has another form.
    """
    known = {word: i for i, word in enumerate(vocabulary.words)}
    vectors = {}
    lines = artifacts.read_text(path, 4 * _MAX_BYTES).split("\n")
    for i, line in enumerate(lines):
        word, *values = line.rstrip().split(" ")
        if word not in known:
            continue
        try:
            vector = np.array(values, np.float32)
        except ValueError:
            vector = np.empty(0, np.float32)
        if vector.shape != (width,) or not np.isfinite(vector).all():
            raise ArtifactError(
                f"{path}: line {i + 1}: expected a word and {width} numbers. "
                f"Received: {line[:60]!r}"
            )
        vectors[known[word]] = vector
    return vectors
