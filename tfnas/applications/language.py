"""ShrinkRNN, the language model of AutoShrink.

Reference: Zhang et al., "AutoShrink: A Topology-Aware NAS for Discovering
Efficient Neural Architecture", AAAI 2020.

| network   | parameters | multiply-adds of a step | perplexity (the authors') |
|-----------|-----------:|------------------------:|--------------------------:|
| ShrinkRNN | 23,000,700 |              22,990,700 |     58.5 valid, 56.5 test |

Counts are ours, for the Penn Treebank's 10,000 words and 745 units; the paper
gives 24 M parameters. The output weights are the table of words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from tfnas.spaces.recurrent import SHRINK_RNN_WIDTH
from tfnas.spaces.recurrent import WORDS
from tfnas.spaces.recurrent import shrink_rnn

if TYPE_CHECKING:
    from tfnas.recurrent_model import Dropouts


def ShrinkRNN(
    words: int = WORDS, width: int = SHRINK_RNN_WIDTH,
    dropouts: Dropouts | None = None, seed: int = 0,
) -> Any:
    """ShrinkRNN for training: 23.0 M parameters, random weights.

    It has a contract of its own: words and a state in, logits of the next
    words and the new state out, see `build_language_model`. One time step of
    stock layers is `tfnas.build_model(shrink_rnn())`.

    Args:
        words: Size of the vocabulary.
        width: Width of the word vectors and of the state.
        dropouts: What is dropped in training; nothing by default.
        seed: Seed of the initial weights and of the dropouts.

    Returns:
        A Keras model.
    """
    from tfnas.recurrent_model import build_language_model

    arch = shrink_rnn(words, width)
    return build_language_model(arch, dropouts, seed=seed)
