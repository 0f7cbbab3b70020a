"""tflite-runtime measures too; `make test-tflite-runtime` has it installed."""

import numpy as np
import pytest

pytest.importorskip("tflite_runtime", reason="needs tflite-runtime")

from tflite_bench import interpreter  # noqa: E402
from tflite_bench import writer  # noqa: E402
from tflite_bench.device import HostDevice  # noqa: E402
from tfnas import measuring  # noqa: E402
from tfnas import spaces  # noqa: E402

KEY = "mbconv|act=relu6|e=3|k=3|pad=sym|s=2|16x16x8>8x8x12"


@pytest.mark.parametrize("dtype, delegates", [("float32", 1), ("int8", 0)])
def test_models_run_as_in_litert(tmp_path, dtype, delegates):
    path = tmp_path / "block.tflite"
    path.write_bytes(writer.write_key(KEY, dtype))
    outputs = []
    for runtime in ("tflite_runtime", "litert"):
        model = interpreter.Model(path, runtime)
        model.invoke()
        (output,) = model._interpreter.get_output_details()
        outputs.append(model._interpreter.get_tensor(output["index"]))
        if runtime == "tflite_runtime":
            # This version's XNNPACK takes float graphs only.
            assert model.delegate_nodes == delegates
    tolerance = 1 if dtype == "int8" else 1e-4
    np.testing.assert_allclose(*outputs, atol=tolerance)


def test_a_table_says_which_runtime_it_is_of(tmp_path):
    device = HostDevice("tflite_runtime")
    table = measuring.build_table(
        spaces.get("densenas_resnet@32"), tmp_path / "table.json", device,
        rounds=2, strict=False, progress=False,
    )
    tflite = table.header["runtime"]["tflite"]
    assert tflite == {"name": "tflite-runtime", "version": "2.14.0"}
    assert table.calibration is not None
