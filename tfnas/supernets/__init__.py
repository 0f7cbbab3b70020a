"""Weight-sharing networks over a search space."""

from tfnas import keras_checked as _keras_checked

_FIRST = (_keras_checked,)  # imported for what it refuses
