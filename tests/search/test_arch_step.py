"""Architecture steps of DenseNAS are the published ones, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tests import dense_nets
from tests.search.tiny_search import make_search
from tfnas.search import densenas


class Published:
    """Architecture steps on the cost alone, in float64.

    Gradients by complex steps through the enumeration of all walks; Adam with
    coupled decay; rescaling. Sections 5, 6, 8.1 and 8.2.

    Args:
        search: Where costs, settings and initial parameters come from.
    """

    def __init__(self, search):
        self.spec = search.space.spec
        self.costs = dense_nets.tables(search.space, search.costs)
        self.config, self.target = search.config, search.target
        tables = search.net.arch.as_list()
        self.w = [v.numpy().astype(np.float64) for v in tables]
        self.m = [np.zeros(w.shape) for w in self.w]
        self.v = [np.zeros(w.shape) for w in self.w]
        self.time = 0

    def cost(self, tables, draw):
        """The expected cost; complex parameters are welcome."""
        heads, stacks, paths = tables
        links = dense_nets.links(self.spec)

        def active(keys, table, rows):
            weights = {}
            for key, row, ops in zip(keys, table, rows, strict=True):
                weights[key] = np.zeros(len(row), complex)
                weights[key][ops] = dense_nets.softmax(row[ops])
            return weights

        links_p = {}
        for b in range(self.spec.tail):
            out = self.spec.outgoing(b)
            values = dense_nets.softmax(
                paths[b, : len(out)] / self.config.temperature
            )
            links_p |= {
                (b, to): v for to, v in zip(out, values, strict=True)
            }
        into = [link for link in links if link[1] != self.spec.tail]
        return dense_nets.expected_cost(
            self.spec, self.costs, links_p, active(into, heads, draw[0]),
            active(dense_nets.layers(self.spec), stacks, draw[1]),
        )

    def gradients(self, draw):
        cost, result = self.cost(self.w, draw).real, []
        if self.target is None:
            c = self.config.cost
            slope = c.factor / (cost * np.log(c.log_base))
        else:
            factor = self.config.cost.target_factor
            slope = factor * np.sign(cost - self.target) / self.target
        for i, table in enumerate(self.w):
            gradient = np.zeros(table.shape)
            for index in np.ndindex(table.shape):
                tables = [w.astype(complex) for w in self.w]
                tables[i][index] += 1e-30j
                gradient[index] = self.cost(tables, draw).imag / 1e-30
            result.append(slope * gradient)
        return result

    def step(self, draw):
        a, old = self.config.arch, [w.copy() for w in self.w]
        self.time += 1
        for i, g in enumerate(self.gradients(draw)):
            g = g + a.weight_decay * self.w[i]
            self.m[i] = a.beta1 * self.m[i] + (1 - a.beta1) * g
            self.v[i] = a.beta2 * self.v[i] + (1 - a.beta2) * g**2
            first = self.m[i] / (1 - a.beta1**self.time)
            root = np.sqrt(self.v[i] / (1 - a.beta2**self.time))
            self.w[i] = self.w[i] - a.lr * first / (root + 1e-8)
        for table, before, rows in zip(self.w, old, draw, strict=False):
            for row, was, ops in zip(table, before, rows, strict=True):
                mass = np.exp(was[ops]).sum() / np.exp(row[ops]).sum()
                row[ops] += np.log(mass)


@pytest.mark.parametrize("target", [None, 1.0])
def test_architecture_steps_are_the_published_ones(target, monkeypatch):
    monkeypatch.setattr(
        densenas.losses, "cross_entropy",
        lambda labels, logits: tf.zeros(tf.shape(labels)),
    )
    search = make_search(target, temperature=0.8, arch={"lr": 3e-3})
    phase, truth = search.phases["arch"], Published(search)
    start = [w.copy() for w in truth.w]
    for step in range(2):
        drawn = phase.draw(tf.constant(step, tf.int64))
        draw = [rows.numpy() for rows in drawn]
        assert {rows.shape[1] for rows in draw} == {2}
        means = search.loop.run(phase, step)
        cost = truth.cost(truth.w, draw).real
        assert means["cost"] == pytest.approx(cost, rel=1e-5)
        truth.step(draw)
    tables = search.net.arch.as_list()
    for table, w, was in zip(tables, truth.w, start, strict=True):
        assert np.abs(w - was).max() > 1e-3
        np.testing.assert_allclose(table, w, rtol=0, atol=3e-7)
