"""Python's garbage collector, told to look less often."""

import gc


def spare():
    """Leaves what lives by now alone, and waits for more before it looks.

    TensorFlow, Keras and the tests are a million objects that stay, and a
    graph being traced makes many more: looking through them again and again
    is a quarter of the time of a test that traces.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
