"""The searches of the `:local` configs find what they found when pinned.

`pins.json` holds what each found with its seed before searches shared a
lattice. Sums in another order may make a seed find another network; then the
pins are written anew, and the commit says why:

    TFNAS_PIN=1 python -m pytest -m slow tests/search/test_pins.py
"""

import json
import os
import pathlib
import zlib

import numpy as np
import pytest
import tensorflow as tf

from tests import programs

PINS = pathlib.Path(__file__).with_name("pins.json")
FLAGS = {
    "ase_nas_mobilenetv3": [], "ase_nas_nasbench201": [],
    "autoshrink_cnn": [], "autoshrink_rnn": [], "autospace_cells": [],
    "densenas_mbv2": [], "densenas_resnet": [], "guided": [],
    "proxyless_autospace": ["--target_madds=3e6"],
}


def arithmetic():
    """Tells machines apart that round sums otherwise: some digits of one."""
    rng = np.random.default_rng(0)  # oneDNN is off, as in the programs
    x, k = (
        rng.normal(size=s).astype("float32")
        for s in ((4, 17, 17, 24), (3, 3, 24, 40))
    )
    y = tf.nn.conv2d(x, k, 2, "SAME")
    y = tf.linalg.matmul(tf.reshape(y, [4, -1]), tf.reshape(y, [-1, 4]))
    return f"{zlib.crc32(np.array(y).tobytes()):08x} tf {tf.__version__}"


def found(path):
    """Returns ids, costs and scores of a `result.json`."""
    result = json.loads(path.read_text())
    return {
        name: [[f["id"], f["cost"], f["score"]] for f in result[name]]
        for name in ("archs", "baseline")
    } | {"history": [r.get("arch_id") for r in result["history"]]}


_UNSTEADY = pytest.mark.xfail(
    reason="the score of the first candidate is another one in each run",
    strict=True,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=_UNSTEADY) if n == "autoshrink_rnn" else n
        for n in sorted(FLAGS)
    ],
)
def test_a_search_finds_what_was_pinned(name, tmp_path, request):
    flags = [f"--config=configs/{name}.py:local", *FLAGS[name]]
    if name == "autoshrink_rnn":
        text = request.getfixturevalue("shared_data") / "ptb"
        flags.append(f"--config.data.name=ptb:{text}")
    pins = json.loads(PINS.read_text()) if PINS.exists() else {}
    if "TFNAS_PIN" not in os.environ and pins["arithmetic"] != arithmetic():
        pytest.skip(
            f"pinned on a machine that sums otherwise: {pins['arithmetic']}"
        )
    done = programs.run("tfnas.bin.search", *flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr[-500:]
    ours = found(tmp_path / "result.json")
    if "TFNAS_PIN" in os.environ:
        pins |= {"arithmetic": arithmetic(), name: ours}
        PINS.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n")
    for part in ("archs", "baseline"):
        for mine, pinned in zip(ours[part], pins[name][part], strict=True):
            assert mine[0] == pinned[0]
            assert mine[1:] == pytest.approx(pinned[1:], rel=1e-6)
    assert ours["history"] == pins[name]["history"]
