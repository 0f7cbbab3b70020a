"""What a latency table is measured on is what an export writes."""

import collections

import numpy as np
import pytest

from tflite_bench import operators
from tflite_bench import writer
from tfnas import derive
from tfnas import export
from tfnas import spaces
from tfnas.lowering import networks

QUICK = ("nasbench201", "mobilenetv3@32")
SLOW = ("densenas_mbv2@32", "densenas_resnet@32", "autoshrink_cnn@32",
        "autospace_proxyless@32", "nasbench_macro", "accel_nasbench")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize(
    "space",
    [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)],
)
def test_the_file_of_a_network_is_the_table_s(space, dtype):
    arch = spaces.get(space).sample(3)
    model = derive.build_model(arch)
    for weight in model.weights:
        # The converter drops those of zeros.
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(np.linspace(-0.1, 0.1, weight.shape[0]))
    images = np.random.default_rng(0).normal(size=(8, *arch.input_shape))
    made = export.tflite.convert(
        model, "none" if dtype == "float32" else "int8", images
    )
    assert made.lowering["plain_because"] is None
    exported = [op.key for op in operators.read(made.blob, dtype)]
    written = operators.read(writer.write_arch(arch, dtype), dtype)
    foretold = networks.operator_keys(arch, dtype)
    assert [op.key for op in written] == foretold
    assert _counted(exported) == _counted(foretold)


def _counted(keys):
    """Two joins of one range by chance need no copy in another scale."""
    return collections.Counter(k for k in keys if not k.startswith("QUANTIZE"))
