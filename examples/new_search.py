"""A fifth gradient search: TuNAS (Bender et al., CVPR 2020).

    PYTHONPATH=examples tfnas-search --config=examples/new_search_config.py \\
        --target_madds=3e6 --workdir=runs/tunas

A step draws one network from the softmax of the architecture parameters. It
trains the weights of that network; or it moves the parameters by REINFORCE,
with the reward `accuracy - factor |cost / target - 1|`. Left out is the
paper's warm-up of ops; ours is what is subtracted from a reward: the mean of
the epoch before. Costs, supernet, derivation, scores and the life of a search
are there: this says what a step optimises.
"""

import tensorflow as tf

from tfnas.cost.expected import ExpectedCost
from tfnas.cost.expected import target_penalty
from tfnas.errors import ConfigError
from tfnas.search.lattice_search import LatticeSearch
from tfnas.search.op_sampling import sample_ops
from tfnas.search.supernet_search import lattice_costs
from tfnas.spaces import lattice
from tfnas.supernets.base import one_by_one
from tfnas.supernets.lattice import PathWeights
from tfnas.train import losses
from tfnas.train import schedules
from tfnas.train.loop import Objective
from tfnas.train.loop import Phase
from tfnas.train.optimizers import SGD
from tfnas.train.optimizers import Adam


class TuNAS(LatticeSearch):
    """The search, in lattices without paths to choose from.

    A network is an option for each searched link: `(links, 1)` for each table
    of architecture parameters.
    """

    def __init__(self, space, costs, splits, loop, config, seed, target):
        super().__init__(space, costs, splits, loop, config, seed, target)
        self.expected = ExpectedCost(costs, self.net.tables)
        with loop.strategy.scope():
            self.mean_reward = tf.Variable(0.0, trainable=False)

    def make_optimizers(self, images):
        c = self.config
        steps = c.epochs * images.num_batches(c.batch_size)
        rate = schedules.cosine(c.weights.lr, steps)
        return (
            SGD(rate, c.weights.momentum, c.weights.weight_decay),
            Adam(schedules.constant(c.arch.lr), 0.0, 0.999),
        )

    def make_phases(self, weight_split, arch_split):
        c, net = self.config, self.net
        return [
            Phase(
                "weights", weight_split, c.batch_size, self.weight_objective,
                net.select, self.weight_optimizer,
                lambda step: self.draw(step, 0), augment=c.augment,
            ),
            Phase(
                "arch", arch_split, c.batch_size, self.arch_objective,
                lambda network: one_by_one(net.arch.as_list()),
                self.arch_optimizer, lambda step: self.draw(step, 1),
            ),
        ]

    def phase_names(self, epoch):
        late = epoch >= self.config.arch_from_epoch
        return ["weights", "arch"] if late else ["weights"]

    def draw(self, step, phase):
        """Draws the network of a step, by the number of the step."""
        tables = self.net.arch.ops
        return tuple(
            sample_ops(table, 1, self.seed, step, len(tables) * phase + i)
            for i, table in enumerate(tables)
        )

    def run_network(self, images, labels, network, weights):
        """Runs a network; returns logits, and what each step reports."""
        ones = [tf.ones(ops.shape) for ops in network]
        no_paths = PathWeights(tf.zeros([0]), tf.zeros([0]))
        logits = self.net(images, network, weights, ones, no_paths, train=True)
        cost = self.expected(list(zip(network, ones, strict=True)))
        reward = correct = losses.correct(labels, logits)
        if self.target is not None:
            factor = self.config.cost.target_factor
            reward -= target_penalty(cost, factor, self.target)
        reports = {"accuracy": correct, "reward": reward}
        return logits, {"sums": reports, "scalars": {"cost": cost}}

    def weight_objective(self, images, labels, network, values):
        logits, reports = self.run_network(images, labels, network, values)
        return Objective(losses.cross_entropy(labels, logits), **reports)

    def arch_objective(self, images, labels, network, values):
        """`-(reward - mean) log p(network)`, of the parameters alone."""
        weights = [s.read() for s in self.net.select(network)]
        _, reports = self.run_network(images, labels, network, weights)
        *tables, _ = values  # the last are those of paths
        rows = [
            tf.gather(tf.nn.log_softmax(table), ops, batch_dims=1)
            for table, ops in zip(tables, network, strict=True)
        ]
        better = reports["sums"]["reward"] - self.mean_reward.read_value()
        log_p = tf.add_n([tf.reduce_sum(row) for row in rows])
        return Objective(-tf.stop_gradient(better) * log_p, **reports)

    def run_epoch(self, epoch):
        weights, *others = super().run_epoch(epoch)
        self.mean_reward.assign(weights["reward"])
        return [weights, *others]

    def variables(self):
        return {**super().variables(), "mean_reward": [self.mean_reward]}


def build(setting):
    """Makes the search: `config.algorithm` names it `new_search.build`."""
    config, space = setting.config, lattice.require(setting.space)
    if space.lattice.weighed:
        raise ConfigError(
            "TuNAS searches spaces without paths to choose from, such as "
            f"proxyless_mbconv. Received: space={config.space!r}"
        )
    return TuNAS(
        space, lattice_costs(setting, space), setting.splits, setting.loop,
        config.search, config.seed, setting.target,
    )
