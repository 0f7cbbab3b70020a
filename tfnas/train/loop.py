"""The only gradient loop: supernets and plain networks run through it.

A caller describes a `Phase` (what to read, what to minimise, what to update)
and gets the means of its scalars back. The loop owns the strategy, the traced
step functions, the reduction over replicas and the progress bar.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tqdm

from tfnas import stopping
from tfnas.data import blame
from tfnas.errors import ConfigError
from tfnas.errors import Diverged
from tfnas.errors import TfnasError
from tfnas.supernets.base import Selected
from tfnas.train.middle import Middle
from tfnas.train.optimizers import Optimizer

# Seconds between two states of the progress bar; a log file needs few.
_TERMINAL_S, _FILE_S = 1.0, 60.0
# A loss that is not finite is seen at the next look: a look waits for the
# step, so that one at each step would cost time.
_LOOK_STEPS = 50
_BAD, _NONE_BAD = "first bad step", tf.int64.max


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a phase computes on one batch of one replica.

    Args:
        losses: `(batch,)` loss of each example.
        extra: Scalar that is added to their mean, equal on all replicas.
        sums: Named `(batch,)` values whose means are reported.
        scalars: Named scalars, equal on all replicas, that are reported.
    """

    losses: tf.Tensor
    extra: tf.Tensor | float = 0.0
    sums: dict[str, tf.Tensor] = dataclasses.field(default_factory=dict)
    scalars: dict[str, tf.Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Phase:
    """One kind of step.

    Args:
        name: Name in the log; one traced function for each.
        split: Where the batches come from.
        batch_size: Examples of a step over all replicas.
        objective: `f(images, labels, draw, values)` to an `Objective`.
        select: `f(draw)` to what the step reads or updates.
        optimizer: Updates what was selected; `None` only evaluates.
        draw: `f(step)` to random choices, made once for all replicas.
        stateless: Whether `objective` computes with `values`; if not, it
            reads the selected variables itself, as Keras models do.
        after: `f(draw, values)` called after the update.
        augment: Name of the augmentation.
        shuffle: Whether the order of the examples changes by epoch.
        bn_groups: Equal parts of one device's batch that are normalised
            apart. With more parts than one over all replicas a last smaller
            batch is left out. `None`: without batch statistics any batch
            will do.
    """

    name: str
    split: Any
    batch_size: int
    objective: Callable[..., Objective]
    select: Callable[[Any], Sequence[Selected]]
    optimizer: Optimizer | None = None
    draw: Callable[[tf.Tensor], Any] = lambda step: ()
    stateless: bool = True
    after: Callable[[Any, Sequence[tf.Tensor]], None] | None = None
    augment: str = "none"
    shuffle: bool = True
    bn_groups: int | None = 1


class Loop:
    """Runs phases under a distribution strategy.

    Args:
        strategy: From `distribute.strategy`.
        seed: Seed of the order of the examples and of augmentation.
        progress: Whether to show a progress bar.

    Attributes:
        steps: Steps done so far of each phase, by name.
        middle: Told where the passes are, if somebody wants to know.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, seed: int = 0,
        progress: bool = True,
    ):
        self.strategy, self.seed = strategy, seed
        self.steps: dict[str, int] = {}
        self.middle: Middle | None = None
        self._functions: dict[str, Any] = {}
        self._progress = progress
        self._bar: tqdm.tqdm | None = None

    def expect(self, total_steps: int, done: int, title: str) -> None:
        """Opens a progress bar.

        Args:
            total_steps: Steps of all phases.
            done: How many of them an earlier process did.
            title: What is in progress.
        """
        self._bar = tqdm.tqdm(
            total=total_steps, initial=done, desc=title, unit="step",
            disable=not self._progress,
            mininterval=_TERMINAL_S if sys.stderr.isatty() else _FILE_S,
        )

    def close(self) -> None:
        """Ends the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def advance(self, steps: int = 1) -> None:
        """Moves the progress bar on; the steps of `run` do so themselves."""
        if self._bar is not None:
            self._bar.update(steps)

    def run(
        self, phase: Phase, epoch: int,
        enough: Callable[[dict[str, float]], bool] | None = None,
    ) -> dict[str, float]:
        """Makes one pass of a phase over its split.

        Args:
            phase: What to do.
            epoch: Number of the pass; it decides order and augmentation.
            enough: Shown the means of every step; `True` ends the pass. It
                makes each step wait for the one before.

        Returns:
            The means over the pass: `loss`, and what the objective reports.

        Raises:
            ConfigError: when the batch cannot be dealt out in equal parts.
            TfnasError: when there is no batch.
            ArtifactError: naming an image that cannot be read.
            Diverged: when the loss is not finite.
        """
        done = self.steps.setdefault(phase.name, 0)
        trains = phase.optimizer is not None and enough is None
        means, start, held = self._enter(trains)
        if means is not None:
            return means
        iterator = self._batches(phase, epoch, start)
        totals = held[0] if held else None
        for i in range(start, self.num_steps(phase)):
            sums = self._take(phase, iterator, done + i)
            totals = _added(totals, sums)
            if (i + 1) % _LOOK_STEPS == 0:
                _check_loss(phase, epoch, totals)
            self._stepped(i + 1, [totals])
            if enough is not None and enough(_step_means(sums)):
                break
        means = _means(phase, epoch, totals)
        self._leave(means)
        return means

    def alternate(
        self, turns: Sequence[tuple[Phase, int]], times: int
    ) -> list[dict[str, float]]:
        """Takes steps of phases in turn.

        Every phase goes through its split pass after pass, on from where its
        last step was.

        Args:
            turns: Phases that update something, with the steps of a turn.
            times: How often each has its turn.

        Returns:
            The means of each phase; see `run`.

        Raises:
            ConfigError: when a batch cannot be dealt out in equal parts.
            TfnasError: when there is no batch.
            ArtifactError: naming an image that cannot be read.
            Diverged: when a loss is not finite.
        """
        means, start, totals = self._enter(trains=True)
        if means is not None:
            return means
        totals = totals or [None for _ in turns]
        streams = [self._stream(phase) for phase, _ in turns]
        turn = [i for i, (_, steps) in enumerate(turns) for _ in range(steps)]
        for taken in range(start, len(turn) * times):
            i = turn[taken % len(turn)]
            phase, _ = turns[i]
            iterator, number = next(streams[i]), self.steps[phase.name]
            sums = self._take(phase, iterator, number)
            totals[i] = _added(totals[i], sums)
            if (number + 1) % _LOOK_STEPS == 0:
                epoch = number // self.num_steps(phase)
                _check_loss(phase, epoch, totals[i])
            self._stepped(taken + 1, totals)
        means = [
            _means(phase, self.steps[phase.name] // self.num_steps(phase), t)
            for (phase, _), t in zip(turns, totals, strict=True)
        ]
        self._leave(means)
        return means

    def _enter(self, trains: bool) -> tuple[Any, int, list[Any]]:
        if self.middle is None:
            return None, 0, []
        return self.middle.on_pass_begin(self.steps, trains)

    def _stepped(self, taken: int, totals: list[Any]) -> None:
        """Notes where a pass is, which may be as far as it comes."""
        if self.middle is not None:
            self.middle.on_step_end(self.steps, taken, totals)
        stopping.check()

    def _leave(self, means: Any) -> None:
        if self.middle is not None:
            self.middle.on_pass_end(self.steps, means)

    def forget(self, name: str) -> None:
        """Drops the traced step function of a phase.

        For a phase that computes something else from now on.
        """
        self._functions.pop(name, None)

    def _stream(self, phase: Phase) -> Iterator[Any]:
        """Yields, for every step, the iterator that holds its batch."""
        length = self.num_steps(phase)
        if not length:
            raise _no_batch(phase)
        epoch, start = divmod(self.steps.setdefault(phase.name, 0), length)
        while True:
            iterator = self._batches(phase, epoch, start)
            for _ in range(start, length):
                yield iterator
            epoch, start = epoch + 1, 0

    def _batches(self, phase: Phase, epoch: int, start: int = 0) -> Any:
        """Returns an iterator over the batches of a pass."""
        batches = phase.split.batches(
            phase.batch_size, seed=self.seed, epoch=epoch,
            augment=phase.augment, start=start, shuffle=phase.shuffle,
            drop_remainder=self._parts(phase) > 1,
        )
        return iter(self.strategy.experimental_distribute_dataset(batches))

    def _take(
        self, phase: Phase, iterator: Any, number: int
    ) -> dict[str, tf.Tensor]:
        """Takes a step; returns sums over its examples."""
        if phase.name not in self._functions:
            self._functions[phase.name] = self._step_function(phase)
        step = self._functions[phase.name]
        with blame.bad_image(phase.split):
            sums = step(iterator, tf.constant(number, tf.int64))
        if phase.optimizer is not None:
            self.steps[phase.name] += 1
        self.advance()
        return sums

    def average(self, variables: Sequence[Any]) -> None:
        """Gives all devices the mean of what each of them holds.

        Args:
            variables: Those that the devices update apart, such as the
                moving statistics of Keras' batch normalisation.
        """
        if self.strategy.num_replicas_in_sync == 1:
            return

        def update() -> None:
            context = tf.distribute.get_replica_context()
            means = context.all_reduce(
                tf.distribute.ReduceOp.MEAN,
                [v.read_value() for v in variables],
            )
            for variable, mean in zip(variables, means, strict=True):
                tf.raw_ops.AssignVariableOp(
                    resource=variable.handle, value=mean
                )

        tf.function(lambda: self.strategy.run(update), autograph=False)()

    def num_steps(self, phase: Phase) -> int:
        """Returns the number of steps of one pass of a phase."""
        return phase.split.num_batches(
            phase.batch_size, self._parts(phase) > 1
        )

    def _parts(self, phase: Phase) -> int:
        """Number of parts of a batch that are normalised apart."""
        if phase.bn_groups is None:
            return 1
        parts = phase.bn_groups * self.strategy.num_replicas_in_sync
        if phase.batch_size % parts:
            raise ConfigError(
                f"phase `{phase.name}`: `batch_size` must be a multiple of "
                f"{parts}, the replicas times `bn_groups`. "
                f"Received: batch_size={phase.batch_size}"
            )
        return parts

    def traces(self, phase: str) -> int:
        """Returns how often the step function of a phase was traced."""
        return self._functions[phase].experimental_get_tracing_count()

    def _step_function(self, phase: Phase) -> Any:
        return tf.function(
            functools.partial(self._step, phase), autograph=False,
            reduce_retracing=True,
        )

    def _step(
        self, phase: Phase, iterator: Any, number: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """One step on all replicas; returns sums over their examples."""
        draw = phase.draw(number)
        sums = self.strategy.run(
            _replica_step, args=(phase, next(iterator), draw, number)
        )
        sums = tf.nest.map_structure(
            lambda x: self.strategy.reduce("SUM", x, axis=None), sums
        )
        finite = tf.math.is_finite(sums["loss"])
        return {**sums, _BAD: tf.where(finite, _NONE_BAD, number)}


def _added(
    totals: dict[str, tf.Tensor] | None, sums: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    if totals is None:
        return sums
    return {
        name: (tf.minimum if name == _BAD else tf.add)(totals[name], value)
        for name, value in sums.items()
    }


def _no_batch(phase: Phase) -> TfnasError:
    return TfnasError(
        f"phase `{phase.name}` needs at least one batch. Received: "
        f"{len(phase.split)} examples, batch_size={phase.batch_size}"
    )


def _step_means(sums: dict[str, tf.Tensor]) -> dict[str, float]:
    count = float(sums["count"])
    return {
        name: float(value) / count
        for name, value in sums.items()
        if name not in ("count", _BAD)
    }


def _check_loss(phase: Phase, epoch: int, totals: Any) -> None:
    """Raises `Diverged` when the loss of a step was not finite."""
    step = int(totals[_BAD])
    if step != _NONE_BAD:
        raise Diverged(
            f"phase `{phase.name}`, epoch {epoch}: at step {step} the loss "
            "must stay finite; a lower learning rate may help. Received: "
            f"{float(totals['loss'])}"
        )


def _means(phase: Phase, epoch: int, totals: Any) -> dict[str, float]:
    if totals is None:
        raise _no_batch(phase)
    _check_loss(phase, epoch, totals)
    result = _step_means(totals)
    if not math.isfinite(result["loss"]):  # the sum of great losses
        raise Diverged(
            f"phase `{phase.name}`, epoch {epoch}: the loss must stay finite; "
            f"a lower learning rate may help. Received: {result['loss']}"
        )
    return result


def _replica_step(
    phase: Phase, batch: Any, draw: Any, number: tf.Tensor
) -> dict[str, tf.Tensor]:
    """One step on one replica; returns sums over its examples."""
    images, labels = batch
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    count = tf.cast(tf.shape(labels)[0], tf.float32)
    total = count
    if replicas > 1:
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    chosen = phase.select(draw)
    values = [s.read() for s in chosen]
    with tf.GradientTape(
        watch_accessed_variables=not phase.stateless
    ) as tape:
        if phase.optimizer is not None and phase.stateless:
            tape.watch(values)
        result = phase.objective(images, labels, draw, values)
        loss = tf.reduce_sum(result.losses) / total
        loss += result.extra / replicas
    if phase.optimizer is not None:
        sources = (
            values if phase.stateless else [s.variables[0] for s in chosen]
        )
        gradients = tape.gradient(
            loss, sources, output_gradients=phase.optimizer.loss_scale(),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        gradients = _sum_over_replicas(context, chosen, gradients)
        phase.optimizer.apply(chosen, values, gradients, number)
        if phase.after is not None:
            phase.after(draw, values)
    sums = {k: tf.reduce_sum(v) for k, v in result.sums.items()}
    sums |= {k: v * count for k, v in result.scalars.items()}
    return {
        "count": count,
        "loss": tf.reduce_sum(result.losses) + result.extra * count,
        **sums,
    }


def _sum_over_replicas(
    context: Any, chosen: Sequence[Selected], gradients: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """All-reduces the gradients as one vector of a fixed length.

    The length is that of the largest choice: collectives need the same
    shape at every step, whatever was sampled.
    """
    if context.num_replicas_in_sync == 1:
        return list(gradients)
    length = sum(s.max_size for s in chosen)
    flat = tf.concat([tf.reshape(g, [-1]) for g in gradients], 0)
    size = tf.size(flat)
    flat = tf.pad(flat, [[0, length - size]])
    flat.set_shape([length])
    flat = context.all_reduce(tf.distribute.ReduceOp.SUM, flat)
    parts = tf.split(flat[:size], [tf.size(g) for g in gradients])
    return [
        tf.reshape(part, tf.shape(g))
        for part, g in zip(parts, gradients, strict=True)
    ]
