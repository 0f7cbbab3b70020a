"""A loop small enough to check by hand: softmax regression on 8 numbers."""

import numpy as np
import tensorflow as tf

from tfnas.data import Split
from tfnas.data.images import Pixels
from tfnas.supernets.base import one_by_one
from tfnas.train import distribute
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Loop
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD

CLASSES = 4


def split(examples):
    """Returns grey images of one pixel whose value gives the label away."""
    rng = np.random.default_rng(0)
    labels = np.arange(examples) % CLASSES
    pixels = 60 * labels + rng.integers(0, 20, examples)
    return Split(
        Pixels(pixels.astype(np.uint8)[:, None, None, None]), labels,
        np.arange(examples), (1, 1), (100.0,) * 3, (50.0,) * 3,
    )


class Regression:
    """Logits `x * w + b` with a training and an evaluation phase."""

    def __init__(self, strategy="default", examples=22, batch_size=8, **phase):
        self.loop = Loop(distribute.strategy(strategy), 0, progress=False)
        with self.loop.strategy.scope():
            self.w = tf.Variable(np.linspace(-0.5, 0.5, CLASSES, dtype="f"))
            self.b = tf.Variable(tf.zeros([CLASSES]))
            self.optimizer = SGD(schedules.constant(0.1))
            self.optimizer.build([self.w, self.b])
        self.split = split(examples)
        settings = {
            "split": self.split,
            "batch_size": batch_size,
            "objective": self.objective,
            "select": lambda draw: one_by_one([self.w, self.b]),
            **phase,
        }
        self.train = Phase("train", optimizer=self.optimizer, **settings)
        self.test = Phase("test", **settings, shuffle=False)

    def objective(self, images, labels, draw, values):
        logits = images[:, 0, 0, :1] * values[0] + values[1]
        return Objective(
            losses.cross_entropy(labels, logits),
            sums={"accuracy": losses.correct(labels, logits)},
        )

    def truth(self):
        """Loss and accuracy of the present weights, by numpy alone."""
        images, labels = self.split.arrays()
        logits = images[:, 0, 0, :1] * self.w.numpy() + self.b.numpy()
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        loss = -np.log(p[np.arange(len(labels)), labels])
        return loss.mean(), (logits.argmax(1) == labels).mean()


def copies(strategy, variable):
    """Returns the copies of a variable on the devices of this process."""
    return [
        v.numpy() for v in strategy.experimental_local_results(variable)
    ]
