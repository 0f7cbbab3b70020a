"""How ASE-NAS runs, as its configs say it; the defaults are the published.

Source: Chen et al., "Automatic Subspace Evoking for Efficient Neural
Architecture Search", arXiv 2210.17180, section 7, and the authors' release.
Configs read this, so it does without TensorFlow.
"""

from __future__ import annotations

import dataclasses

from tfnas.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class PolicyOptions:
    """Sizes and constants of the policy.

    Args:
        edits: Edits of a sample, M.
        hidden: Width of every layer.
        layers: Layers of the GNN.
        tanh_subspace: Bound of the logits of the choice of a subspace.
        tanh_edit: Bound of the logits of an edit's position and op.
        lr: Learning rate of Adam.
        weight_decay: L2, coupled: it is part of Adam's gradient.
        one_hot_width: Least width of a position's one-hot code. The authors
            use 6 for the 5 ops of NAS-Bench-201.
    """

    edits: int = 4
    hidden: int = 64
    layers: int = 2
    tanh_subspace: float = 1.5
    tanh_edit: float = 0.6
    lr: float = 9.446763714621489e-3
    weight_decay: float = 2.3740059139364297e-5
    one_hot_width: int = 0


@dataclasses.dataclass(frozen=True)
class Options:
    """How ASE-NAS runs.

    Args:
        centres: Number of subspaces, K.
        baseline_decay: Decay of the mean that is taken off the reward.
        entropy: Weight of the entropy in the loss.
        no_repeats: Whether samples that compute the same as a network that
            was evaluated are drawn again. Ours.
        proposals: Samples of the policy, of which the value model chooses
            one, within the limit if it can; 1 does without a value model.
            Ours.
        exploration: Standard deviations of the value model's forecast that
            are added to its mean.
        policy_every: Of so many samples in turn one is the policy's own: the
            value model does not choose. It keeps the search out of dead
            ends of the value model.
        policy: Sizes and constants of the policy.
    """

    centres: int = 3
    baseline_decay: float = 0.9
    entropy: float = 5.049559768158195e-4
    no_repeats: bool = False
    proposals: int = 1
    exploration: float = 5.0
    policy_every: int = 3
    policy: PolicyOptions = PolicyOptions()

    def __post_init__(self) -> None:
        for name in ("centres", "proposals", "policy_every"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"`{name}` must be at least 1. "
                    f"Received: {name}={getattr(self, name)}"
                )


PUBLISHED = Options()
