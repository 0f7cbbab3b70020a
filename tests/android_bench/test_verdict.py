"""No time counts without proof of what ran: every sentence has its verdict.

The lines are written after the formats of TFLite's and LiteRT 2's programs
of August 2026, and of older releases.
"""

import pytest

from android_bench.options import Options
from android_bench.result_file import Delegations
from android_bench.verdict import judge
from tfnas.errors import DeviceError

WHOLE = (
    "Explicitly applied {} delegate, and the model graph will be completely "
    "executed by the delegate."
)
PART = (
    "Explicitly applied {} delegate, and the model graph will be partially "
    "executed by the delegate w/ 2 delegate kernels."
)
NOTHING = (
    "Though {} delegate is explicitly applied, the model graph will not be "
    "executed by the delegate."
)
REPLACING = (
    "Replacing {} out of {} node(s) with delegate ({}) node, yielding {} "
    "partitions for subgraph {} (main)."
)
NAMES = {"xnnpack": "XNNPACK", "gpu": "GPU", "nnapi": "NNAPI"}
CREATED = "Created TensorFlow Lite XNNPACK delegate for CPU."


def verdict(backend, *lines, **kwargs):
    fields = ("fp16", "nnapi_accelerator", "allow_partial")
    options = {k: kwargs.pop(k) for k in fields if k in kwargs}
    options = Options(delegate=backend, **options)
    return judge(lines, options, "m.tflite", **kwargs)


def refusal(backend, *lines, **kwargs):
    """Returns the message, which names the model, and what was asked."""
    with pytest.raises(DeviceError) as error:
        verdict(backend, *lines, **kwargs)
    message = str(error.value)
    assert message.startswith(f"m.tflite: expected to run on {backend}")
    assert "\n" not in message
    return message


# What TFLite's program says of each delegate.


@pytest.mark.parametrize("backend", NAMES)
def test_all_of_a_model(backend):
    line = WHOLE.format(NAMES[backend])
    proof = verdict(backend, "STARTING!", line)
    assert proof.proven
    assert proof.backend == proof.ran == backend
    assert proof.sentence == line
    assert proof.pieces == 1


@pytest.mark.parametrize("backend", ["gpu", "nnapi"])
def test_a_part_needs_leave(backend):
    line = PART.format(NAMES[backend])
    message = refusal(backend, line)
    assert "a part stays on the CPU" in message
    assert "--allow_partial" in message
    assert line in message
    proof = verdict(backend, line, allow_partial=True)
    assert (proof.proven, proof.pieces) == (True, 2)


def test_a_part_of_the_cpus_delegate_is_still_the_cpu():
    proof = verdict("xnnpack", PART.format("XNNPACK"))
    assert (proof.backend, proof.pieces) == ("xnnpack", 2)


@pytest.mark.parametrize("backend", NAMES)
def test_nothing_is_refused_and_the_sentence_quoted(backend):
    line = NOTHING.format(NAMES[backend])
    message = refusal(backend, line)
    assert "nothing ran there" in message
    assert line in message


def test_nothing_of_the_cpus_delegate_can_be_allowed():
    line = NOTHING.format("XNNPACK")
    assert "--allow_partial" in refusal("xnnpack", line)
    proof = verdict("xnnpack", line, allow_partial=True)
    assert (proof.ran, proof.proven, proof.nodes) == ("none", True, 0)
    line = NOTHING.format("GPU")
    assert "nothing" in refusal("gpu", line, allow_partial=True)


def test_older_releases_say_it_shorter():
    line = (
        "Applied GPU delegate, and the model graph will be completely "
        "executed w/ the delegate."
    )
    assert verdict("gpu", line).backend == "gpu"
    line = (
        "Though GPU delegate is applied, the model graph will not be "
        "executed by the delegate."
    )
    assert "nothing" in refusal("gpu", line)


# Flags, and platforms.


@pytest.mark.parametrize("backend", ["xnnpack", "none", "gpu", "nnapi", "npu"])
def test_a_flag_that_the_program_does_not_know(backend):
    line = "Unconsumed cmdline flags: --use_gpu --threads=2"
    known = [WHOLE.format(NAMES[backend])] if backend in NAMES else []
    message = refusal(backend, line, *known)
    assert "does not know --use_gpu --threads=2" in message


@pytest.mark.parametrize(
    "backend, line",
    [
        ("gpu", "GPU acceleration is unsupported on this platform."),
        ("gpu", "GPU accelerator could not be loaded and registered."),
        ("nnapi", "NNAPI acceleration is unsupported on this platform."),
        ("nnapi", "Couldn't load NNAPI support library from path: x.so"),
        (
            "npu",
            "NPU accelerator could not be loaded and registered: "
            "kLiteRtStatusErrorNotFound.",
        ),
        (
            "npu",
            "You should provide the `DispatchLibraryDir` option to use NPU.",
        ),
        ("npu", "No usable Dispatch runtime found"),
        ("npu", "Failed to load compiler plugins: no such file"),
        (
            "ynnpack",
            "enable_ynnpack was ignored because YNNPACK support was not "
            "compiled into this build.",
        ),
    ],
)
def test_what_is_missing_matters_to_those_who_asked_for_it(backend, line):
    assert line in refusal(backend, line, enforced=True)
    # LiteRT says so of every accelerator, asked for or not.
    assert verdict("xnnpack", line, WHOLE.format("XNNPACK")).proven


@pytest.mark.parametrize(
    "backend, line",
    [
        ("xnnpack", "XNNPACK acceleration is unsupported on this platform."),
        ("npu", "Hexagon acceleration is unsupported on this platform."),
        ("npu", "You should provide the DispatchLibraryDir option to use NPU."),
        (
            "xnnpack",
            "XNNPACK CPU accelerator could not be loaded and registered: no.",
        ),
        ("ynnpack", "YNNPACK CPU accelerator is disabled."),
    ],
)
def test_whichever_backend_is_missing_is_named(backend, line):
    assert "it is not there" in refusal(backend, line)
    assert line in refusal(backend, line)


# The GPU's interfaces.


@pytest.mark.parametrize("name", ["OpenCL", "OpenGL"])
def test_the_interface_of_the_gpu_is_told(name):
    lines = (f"Initialized {name}-based API.", WHOLE.format("GPU"))
    assert verdict("gpu", *lines).backend == f"gpu ({name})"
    assert verdict("gpu", *lines, fp16=True).backend == f"gpu ({name}) fp16"


def test_a_fall_back_from_opencl_to_opengl_is_a_run_on_the_gpu():
    errors = (
        "Can not open OpenCL library on this device - no such file",
        "Falling back to OpenGL",
    )
    lines = (*errors, WHOLE.format("GPU"))
    assert verdict("gpu", *lines, errors=errors).backend == "gpu (OpenGL)"
    lines = (*lines, "Initialized OpenGL-based API.")
    assert verdict("gpu", *lines, errors=errors).backend == "gpu (OpenGL)"


def test_a_fall_back_alone_proves_nothing():
    errors = ("Falling back to OpenGL",)
    line = NOTHING.format("GPU")
    assert "nothing" in refusal("gpu", *errors, line, errors=errors)
    assert not verdict("gpu", *errors, errors=errors).proven


@pytest.mark.parametrize(
    "line",
    [
        "Restored original execution plan after delegate application failure.",
        "Node number 64 (TfLiteGpuDelegateV2) failed to prepare.",
        "Disallowed CPU fallback detected.",
    ],
)
def test_a_fall_back_does_not_excuse_a_delegate_that_was_taken_out(line):
    errors = ("Falling back to OpenGL", line)
    replacing = REPLACING.format(64, 64, "TfLiteGpuDelegateV2", 1, 0)
    lines = (replacing, *errors)
    assert line in refusal("gpu", *lines, errors=errors)


@pytest.mark.parametrize(
    "line, nodes",
    [
        (
            "60 operations will run on the GPU, and the remaining 4 "
            "operations will run on the CPU.", 60,
        ),
        (
            "First 60 operations will run on the GPU, and the remaining 4 on "
            "the CPU.", 60,
        ),
    ],
)
def test_the_gpu_says_how_much_it_leaves(line, nodes):
    lacking = "Following operations are not supported by GPU delegate:"
    lines = (lacking, "CONV_3D: no such operator", line)
    assert line in refusal("gpu", *lines, errors=[lacking])
    proof = verdict("gpu", *lines, errors=[lacking], allow_partial=True)
    assert (proof.backend, proof.nodes, proof.of_nodes) == ("gpu", nodes, 64)
    nothing = line.replace("60", "No").replace("the remaining", "all")
    for leave in (False, True):
        message = refusal("gpu", lacking, nothing, allow_partial=leave)
        assert "nothing ran there" in message


def test_operators_that_the_gpu_lacks_are_a_part_whoever_is_silent():
    line = "Following operations are not supported by GPU delegate:"
    made = "Created TensorFlow Lite delegate for GPU."
    assert "a part stays" in refusal("gpu", made, line, errors=[line])
    proof = verdict("gpu", made, line, errors=[line], allow_partial=True)
    assert not proof.proven


def test_operators_that_the_gpu_lacks_are_no_failure_of_their_own():
    line = "Following operations are not supported by GPU delegate:"
    lines = (line, PART.format("GPU"))
    assert "--allow_partial" in refusal("gpu", *lines, errors=[line])
    proof = verdict("gpu", *lines, errors=[line], allow_partial=True)
    assert proof.proven


@pytest.mark.parametrize("backend", ["xnnpack", "gpu"])
def test_other_errors_end_it(backend):
    lines = ("out of memory", WHOLE.format(NAMES[backend]))
    message = refusal(backend, *lines, errors=["out of memory"])
    assert "it failed" in message
    assert "out of memory" in message


# The runtime's own lines, in both programs.


@pytest.mark.parametrize(
    "backend, delegate",
    [
        ("xnnpack", "TfLiteXNNPackDelegate"),
        ("ynnpack", "YNNPackDelegate"),
        ("gpu", "TfLiteGpuDelegateV2"),
        ("nnapi", "TfLiteNnapiDelegate"),
        ("npu", "DispatchDelegate"),
        ("npu", "TfLiteHexagonDelegate"),
        ("npu", "TfLiteNeuronDelegate"),
        ("gpu", "MlDriftDelegate(IR)"),
        ("gpu", "ML Drift delegate"),
    ],
)
def test_replaced_operators_are_counted(backend, delegate):
    line = REPLACING.format(64, 64, delegate, 1, 0)
    proof = verdict(backend, line)
    assert (proof.nodes, proof.of_nodes, proof.pieces) == (64, 64, 1)
    assert proof.backend == backend


@pytest.mark.parametrize(
    "delegate, interface",
    [
        ("LITERT_CL", "OpenCL"), ("LITERT_OPENGL", "OpenGL"),
        ("LITERT_WEBGPU", "WebGPU"), ("LITERT_VULKAN", "Vulkan"),
        ("LITERT_METAL", "Metal"),
    ],
)
def test_delegates_of_litert_carry_their_interface(delegate, interface):
    line = REPLACING.format(64, 64, delegate, 1, 0)
    assert verdict("gpu", line).backend == f"gpu ({interface})"
    details = Delegations(64, {delegate: 64}, {delegate: 1})
    proof = verdict("gpu", details=details, enforced=True)
    assert proof.backend == f"gpu ({interface})"


@pytest.mark.parametrize("nodes, of_nodes", [(70, 64), (10**9, 10**9)])
def test_numbers_of_operators_that_no_model_has(nodes, of_nodes):
    line = REPLACING.format(nodes, of_nodes, "TfLiteXNNPackDelegate", 1, 0)
    with pytest.raises(DeviceError, match="m.tflite: .*impossible number"):
        verdict("xnnpack", line)


def test_two_delegates_of_the_cpu_are_both_named():
    lines = (
        REPLACING.format(7, 10, "YNNPackDelegate", 3, 0),
        REPLACING.format(3, 5, "TfLiteXNNPackDelegate", 3, 0),
    )
    for backend in ("xnnpack", "ynnpack"):
        assert verdict(backend, *lines).backend == "xnnpack+ynnpack"


@pytest.mark.parametrize("backend", ["xnnpack", "nnapi"])
def test_a_gpu_beside_what_was_asked_is_refused(backend):
    own = {"xnnpack": "TfLiteXNNPackDelegate", "nnapi": "TfLiteNnapiDelegate"}
    lines = (
        REPLACING.format(7, 10, "TfLiteGpuDelegateV2", 1, 0),
        REPLACING.format(4, 4, own[backend], 1, 0),
    )
    message = refusal(backend, *lines, allow_partial=True)
    assert "another ran beside it" in message
    assert lines[0] in message


def test_subgraphs_add_up():
    lines = (
        REPLACING.format(10, 10, "TfLiteXNNPackDelegate", 1, 0),
        REPLACING.format(3, 8, "TfLiteXNNPackDelegate", 3, 1),
    )
    proof = verdict("xnnpack", *lines)
    assert (proof.nodes, proof.of_nodes, proof.pieces) == (13, 18, 3)


def test_a_part_that_only_the_runtime_tells_needs_leave_too():
    line = REPLACING.format(60, 64, "TfLiteGpuDelegateV2", 3, 0)
    assert "a part stays" in refusal("gpu", line)


def test_another_delegate_than_asked_is_refused():
    line = REPLACING.format(64, 64, "TfLiteXNNPackDelegate", 1, 0)
    for backend in ("gpu", "npu", "nnapi", "ynnpack"):
        assert "another ran" in refusal(backend, line)
    assert "a delegate was applied" in refusal("none", line)


def test_a_cpu_delegate_and_silence_about_the_gpu_is_a_run_on_the_cpu():
    assert CREATED in refusal("gpu", CREATED)
    assert CREATED in refusal("nnapi", CREATED)
    # Beside the GPU's own word it is about the rest, which is none.
    assert verdict("gpu", CREATED, WHOLE.format("GPU")).proven


def test_no_delegate_was_asked_for():
    assert CREATED in refusal("none", CREATED)
    proof = verdict("none", "STARTING!")
    assert (proof.proven, proof.backend) == (False, "none (unproven)")
    details = Delegations(7, {}, {})
    proof = verdict("none", details=details)
    assert (proof.proven, proof.backend) == (True, "none")
    assert (proof.nodes, proof.of_nodes) == (0, 7)


# The file that says who runs what.


def test_a_file_is_the_surest_word():
    details = Delegations(66, {"TfLiteXNNPackDelegate": 66}, {
        "TfLiteXNNPackDelegate": 1,
    })
    proof = verdict("xnnpack", details=details)
    assert (proof.nodes, proof.of_nodes, proof.pieces) == (66, 66, 1)
    assert "66 of 66" in proof.sentence
    assert "another ran" in refusal("gpu", details=details)


def test_a_part_in_a_file():
    name = "TfLiteGpuDelegateV2"
    details = Delegations(66, {name: 60}, {name: 3})
    assert "a part stays" in refusal("gpu", details=details)
    proof = verdict("gpu", details=details, allow_partial=True)
    assert (proof.nodes, proof.pieces) == (60, 3)


def test_nothing_in_a_file():
    details = Delegations(66, {}, {})
    for backend in ("gpu", "npu", "xnnpack"):
        assert "nothing ran" in refusal(backend, details=details)


# LiteRT 2's program, which can be told to end rather than fall back.


@pytest.mark.parametrize("backend", ["gpu", "npu"])
def test_a_program_that_had_to_end_otherwise_is_proof(backend):
    proof = verdict(backend, "STARTING!", enforced=True)
    assert (proof.proven, proof.backend) == (True, backend)


def test_but_not_when_only_the_cpus_delegate_was_made():
    assert CREATED in refusal("gpu", CREATED, enforced=True)
    line = "Initialized OpenGL-based API."
    proof = verdict("gpu", CREATED, line, enforced=True)
    assert proof.backend == "gpu (OpenGL)"


def test_but_not_against_its_own_file():
    name = "TfLiteXNNPackDelegate"
    details = Delegations(5, {name: 5}, {name: 1})
    assert "another ran" in refusal("npu", details=details, enforced=True)
    assert "nothing ran" in refusal(
        "npu", details=Delegations(5, {}, {}), enforced=True
    )


def test_a_gpus_interface_of_another_name():
    details = Delegations(5, {"SomethingNew": 5}, {"SomethingNew": 1})
    proof = verdict("gpu", details=details, enforced=True)
    assert (proof.backend, proof.nodes) == ("gpu", 5)
    line = "Create WebGPU environment (use_low_power=0)"
    proof = verdict("gpu", line, enforced=True)
    assert proof.backend == "gpu (WebGPU)"


# What nobody tells.


@pytest.mark.parametrize("backend", ["xnnpack", "gpu", "npu"])
def test_silence_is_marked(backend):
    proof = verdict(backend, "STARTING!")
    assert not proof.proven
    assert proof.ran == "unknown"
    assert proof.backend == f"{backend} (unproven)"
    assert proof.backend != verdict(
        backend, REPLACING.format(1, 1, {
            "xnnpack": "XNNPack", "gpu": "Gpu", "npu": "Dispatch",
        }[backend], 1, 0),
    ).backend


def test_being_made_is_not_yet_taking_anything():
    line = "Created TensorFlow Lite delegate for GPU."
    assert not verdict("gpu", line).proven
    assert not verdict("xnnpack", CREATED).proven


def test_a_proof_reads_back_from_a_journal_or_not_at_all():
    from android_bench.verdict import Proof

    proof = verdict("gpu", WHOLE.format("GPU"))
    assert Proof(**vars(proof)) == proof
    with pytest.raises(ValueError, match="impossible number of operators"):
        Proof("gpu", "gpu", True, "", nodes=-1)
    for nodes in (10**9, True, 1.5, "3"):
        with pytest.raises(ValueError, match="impossible number"):
            Proof("gpu", "gpu", True, "", nodes=nodes)
    with pytest.raises(TypeError, match="expected a text"):
        Proof("gpu", 7, True, "")
    with pytest.raises(TypeError, match="expected true or false"):
        Proof("gpu", "gpu", "yes", "")
