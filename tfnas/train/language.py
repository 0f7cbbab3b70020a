"""Training of language models: chunks of text, best weights, perplexity.

The recipes are those of AutoShrink (Zhang et al. 2020): the proxy of its
search, and the training of ShrinkRNN, which follows Merity et al. 2018.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnas import artifacts
from tfnas.arch import Arch
from tfnas.data.text import Chunks
from tfnas.data.text import Lengths
from tfnas.data.text import Text
from tfnas.data.text import columns
from tfnas.data.text import read_vectors
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.ops.recurrent import language_parts
from tfnas.recurrent_model import Dropouts
from tfnas.recurrent_model import LanguageModel
from tfnas.recurrent_model import build_language_model
from tfnas.recurrent_model import language_layer
from tfnas.supernets.base import one_by_one
from tfnas.train.averaged_sgd import AveragedSGD
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.stage import run_stage
from tfnas.train.stage import start_loop

FORMAT = "tfnas-trained-language/1"
_DIVERGED_LOSS = 30.0  # of a word; what is above counts as not finite
_MOVING = 0.9  # weight of the old in the moving average of the training loss
_READ_STEPS = 35  # of a chunk when nothing is trained; changes no result


def _cross_entropy(after: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each word, `(batch * steps,)`."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        after, tf.reshape(logits, (-1, logits.shape[-1]))
    )


def _mean_change(hidden: tf.Tensor) -> tf.Tensor:
    """Returns the mean of `(h_(t+1) - h_t)^2`; 0 for a single step."""
    changes = tf.square(hidden[:, 1:] - hidden[:, :-1])
    size = tf.cast(tf.size(changes), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(changes), size)


class TextEvaluation:
    """Measures a language model on a text, its state carried over.

    Args:
        layer: The model.
        numbers: Words of the text, `(tokens,)`.
        batch_size: Columns that the text is read in.
        name: Of the phase in the log and in messages.
        loop: The gradient loop.

    Raises:
        ConfigError: when the text is too short for the batch.
    """

    def __init__(
        self, layer: LanguageModel, numbers: np.ndarray, batch_size: int,
        name: str, loop: Loop,
    ):
        table = columns(numbers, batch_size, name)
        lengths = Lengths(_READ_STEPS, short=0.0).draw(len(table), 0, 0)
        self.steps, self._loop = len(lengths), loop
        self._state = tf.Variable(
            tf.zeros((batch_size, layer.parts.width)), trainable=False
        )

        def objective(words, after, draw, values) -> Objective:
            logits, state = layer(words, self._state.read_value())
            self._state.assign(state)
            return Objective(_cross_entropy(after, logits))

        self._phase = Phase(
            name, Chunks(table, lengths), batch_size, objective,
            lambda draw: [], stateless=False, bn_groups=None,
        )

    def loss(self) -> float:
        """Returns the mean loss of a word.

        Raises:
            Diverged: when it is not finite, or beyond any use.
        """
        self._state.assign(tf.zeros_like(self._state))
        loss = self._loop.run(self._phase, 0)["loss"]
        if loss >= _DIVERGED_LOSS:
            raise Diverged(
                f"the loss of a word must stay below {_DIVERGED_LOSS:g}. "
                f"Received: {loss:g}"
            )
        return loss


class LanguageTraining:
    """Epochs over a text; the weights of the best validation are kept.

    The state is carried from chunk to chunk and is zero where the text
    begins. The learning rate of an update is proportional to its steps.
    Where an epoch ends with a loss that is not finite, it raises, or, with
    `reload_best`, goes on from the best weights so far.

    Args:
        arch: The network; its words are those of the text.
        text: What to read.
        loop: The gradient loop, on one device.
        config: A recipe, such as the `train` section of
            `configs/shrink_rnn.py`, which explains the fields.

    Attributes:
        model: The model, as the last epoch left it.
        losses: Validation loss of each epoch so far.
        stopped: Whether a rule of the recipe ended the training.

    Raises:
        ConfigError: when a text is too short for its batch, or the strategy
            has several devices.
    """

    goes_on_within = False

    def __init__(self, arch: Arch, text: Text, loop: Loop, config: Any):
        replicas = loop.strategy.num_replicas_in_sync
        if replicas > 1:
            raise ConfigError(
                "a language model trains on one device: its state goes from "
                f"one batch to the next. Received: {replicas} devices"
            )
        self.loop, self.config, self.text = loop, config, text
        self.losses: list[float] = []
        self.stopped = False
        self.model = build_language_model(
            arch, Dropouts(**config.dropouts), config.table_range, loop.seed
        )
        layer = language_layer(self.model)
        assert layer is not None
        self.layer = layer
        if config.vectors:
            self._load_vectors(config.vectors)
        self._columns = columns(text.train, config.batch_size, "train")
        self._lengths = Lengths(
            config.bptt, config.bptt_short, config.bptt_std, config.bptt_most
        )
        self._valid = TextEvaluation(
            layer, text.valid, config.valid_batch_size, "valid", loop
        )
        self._make_variables()
        self._train = Phase(
            "train", self._chunks(0), config.batch_size, self._objective,
            lambda draw: one_by_one(self._weights), self.optimizer,
            stateless=False, bn_groups=None,
        )

    def _load_vectors(self, path: str) -> None:
        table = np.array(self.layer.table)
        for number, vector in read_vectors(
            path, self.text.vocabulary, table.shape[1]
        ).items():
            table[number] = vector
        self.layer.table.assign(table)

    def _make_variables(self) -> None:
        c, width = self.config, self.layer.parts.width

        def variable(value: Any) -> tf.Variable:
            return tf.Variable(value, trainable=False)

        self._state = variable(tf.zeros((c.batch_size, width)))
        self._epoch_rate, self._rate = variable(0.0), variable(0.0)
        self._moving = variable(-1.0)  # below 0: there is none yet
        self._weights = [v.value for v in self.model.trainable_variables]
        self._best = [variable(v) for v in self._weights]
        self.optimizer = AveragedSGD(self._rate, c.clip, c.weight_decay)
        self.optimizer.build(self._weights)

    def _chunks(self, epoch: int) -> Chunks:
        rows, seed = len(self._columns), self.loop.seed
        return Chunks(self._columns, self._lengths.draw(rows, seed, epoch))

    def _objective(self, words, after, draw, values) -> Objective:
        hidden, state = self.layer.hidden(
            words, self._state.read_value(), training=True
        )
        self._state.assign(state)
        losses = _cross_entropy(
            after, self.layer.decode(hidden, training=True)
        )
        share = tf.cast(tf.shape(words)[1], tf.float32) / self.config.bptt
        self._rate.assign(self._epoch_rate.read_value() * share)
        mean, old = tf.reduce_mean(losses), self._moving.read_value()
        moved = _MOVING * old + (1 - _MOVING) * mean
        self._moving.assign(tf.where(old < 0, mean, moved))
        penalty = self.config.temporal_penalty
        extra = penalty * _mean_change(hidden) if penalty else 0.0
        return Objective(losses, extra)

    @property
    def units(self) -> int:
        """Number of epochs."""
        return self.config.epochs

    def unit_steps(self, unit: int) -> int:
        """Returns about how many steps an epoch takes."""
        mean = self.config.bptt * (1 - self.config.bptt_short / 2)
        return round(len(self._columns) / mean) + self._valid.steps

    def run_unit(self, unit: int) -> list[dict[str, Any]]:
        """Trains for an epoch and validates; nothing once stopped.

        Raises:
            Diverged: when a loss is not finite and nothing is reloaded.
        """
        if self.stopped:
            return []
        drops = sum(unit > epoch for epoch in self.config.lr_drops)
        self._epoch_rate.assign(self.config.lr / 10**drops)
        self._state.assign(tf.zeros_like(self._state))
        phase = dataclasses.replace(self._train, split=self._chunks(unit))
        try:
            means = self.loop.run(phase, unit)
            loss = self._validate()
        except Diverged:
            if not (self.config.reload_best and self.losses):
                raise
            self._reload()
            return [{"phase": "reload", "epoch": unit}]
        self._decide(loss)
        return [
            {"phase": "train", "epoch": unit, **means},
            {"phase": "valid", "epoch": unit, "loss": loss,
             "perplexity": math.exp(loss)},
        ]

    def _validate(self) -> float:
        """Returns the validation loss; keeps the weights if they are best."""
        averaging = bool(self.optimizer.averaging)
        if averaging:
            _swap(self._weights, self.optimizer.means())
        try:
            loss = self._valid.loss()
            if loss < min(self.losses, default=math.inf):
                _copy(self._weights, self._best)
        finally:
            if averaging:
                _swap(self._weights, self.optimizer.means())
        return loss

    def _decide(self, loss: float) -> None:
        """Turns to averaging, or stops, where the recipe says so."""
        c, wait = self.config, self.config.average_after
        if wait is not None and not self.optimizer.averaging:
            before = self.losses[: len(self.losses) - wait]
            if before and loss > min(before):
                self.optimizer.start_averaging()
        self.losses.append(loss)
        since = len(self.losses) - 1 - int(np.argmin(self.losses))
        if c.patience is not None and since >= c.patience:
            self.stopped = True
        if c.max_ratio is not None and loss > c.max_ratio * self._moving:
            self.stopped = True

    def _reload(self) -> None:
        _copy(self._best, self._weights)
        self._moving.assign(-1.0)
        if self.optimizer.averaging:
            self.optimizer.start_averaging()

    def finish(self) -> float:
        """Puts the best weights into the model.

        Returns:
            The loss of a word of the test text.
        """
        _copy(self._best, self._weights)
        c = self.config
        return TextEvaluation(
            self.layer, self.text.test, c.test_batch_size, "test", self.loop
        ).loss()

    def state(self) -> dict[str, Any]:
        """Returns counters and validation losses."""
        return {"steps": dict(self.loop.steps), "losses": self.losses,
                "stopped": self.stopped}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` returned."""
        self.loop.steps.update(state["steps"])
        self.losses, self.stopped = list(state["losses"]), state["stopped"]

    def variables(self) -> dict[str, list]:
        """Returns weights, random state, means and best weights."""
        return {
            "model": [v.value for v in self.model.variables],
            "slots": self.optimizer.slots(),
            "best": [*self._best, self._moving],
        }


def _copy(sources: list[tf.Variable], targets: list[tf.Variable]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.assign(source)


def _swap(ours: list[tf.Variable], theirs: list[tf.Variable]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        kept = a.numpy()
        a.assign(b)
        b.assign(kept)


def fitted(arch: Arch, text: Text, width: int | None = None) -> Arch:
    """Returns a language model for the words of a text.

    Args:
        arch: A language model.
        text: Its vocabulary is what the result knows.
        width: Width of the result; `None` keeps it. Searches are run at a
            small one.

    Raises:
        ArtifactError: when the network is no language model.
    """
    parts = language_parts(arch)
    return dataclasses.replace(
        parts, words=len(text.vocabulary), width=width or parts.width
    ).arch(arch.space)


def train_language(
    arch: Arch, config: Any, workdir: str | os.PathLike, text: Text,
    title: str = "train", progress: bool = True,
) -> tuple[keras.Model, dict[str, float]]:
    """Trains a language model; the same call again goes on where it was.

    Args:
        arch: The network, `fitted` to the text.
        config: A whole config; its `train` section is the recipe.
        workdir: Folder of the stage; `arch.json` and `vocabulary.json` are
            written there, too.
        text: The text.
        title: Title of the progress bar.
        progress: Whether to show it.

    Returns:
        The model with the weights of the best validation, and its
        perplexities `"valid"` and `"test"`.

    Raises:
        ConfigError: when the workdir belongs to another network or config,
            or the text is too short for a batch.
        Diverged: when the loss is not finite before there is a best epoch.
    """
    loop = start_loop(config.seed, config.strategy, progress)
    work = LanguageTraining(arch, text, loop, config.train)
    claim = {"arch": arch.to_json(), "train": config.train,
             "data": config.data, "seed": config.seed}
    folder = artifacts.claim_workdir(workdir, claim)
    arch.save(folder / "arch.json")
    text.vocabulary.save(folder / "vocabulary.json")
    perplexity: dict[str, float] = {}

    def result() -> dict[str, Any]:
        losses = {"test": work.finish(), "valid": min(work.losses)}
        perplexity.update((k, math.exp(loss)) for k, loss in losses.items())
        return {"format": FORMAT, "arch_id": arch.id, "perplexity": perplexity}

    inputs = {"arch": arch.id, "text_sha256": text.digest}
    run_stage(folder, work, loop, claim, inputs, title, result)
    return work.model, perplexity
