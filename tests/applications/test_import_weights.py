"""Weights of the authors' releases: name by name, or not at all."""

import importlib.util
import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import programs
from tests import published_nets
from tests.applications import torch_nets
from tfnas import applications
from tfnas import artifacts
from tfnas import spaces
from tfnas.applications import checkpoints
from tfnas.applications import torch_names
from tfnas.applications import weights as weight_files
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError

BASIC = (
    "[[32, 40], 'basic_block', ['basic_block', 'basic_block'], 2, 2]|"
    "[[40, 48], 'basic_block', [], 0, 1]|[[48, 48], 'basic_block', [], 0, 1]"
)
BOTTLENECK = (
    "[[32, 8], 'bottle_neck', ['bottle_neck'], 1, 1]|"
    "[[8, 16], 'bottle_neck', ['bottle_neck'], 1, 2]"
)
TINY = (
    "[[8, 8], 'mbconv_k3_t1', [], 0, 1]|"
    "[[8, 16], 'mbconv_k5_t3', ['mbconv_k3_t6'], 1, 2]|[[16, 24], 'conv1_1']"
)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs PyTorch"
)


def _tiny():
    """Returns a tiny network and a state dict of its names."""
    arch = spaces.get("densenas_mbv2", 3, (32, 32, 3)).decode(TINY)
    state, _ = torch_nets.densenas(TINY, np.zeros((1, 3, 32, 32)), 3)
    return arch, state


@pytest.fixture
def tiny(tmp_path):
    """A tiny network as a file, and a checkpoint of it."""
    arch, state = _tiny()
    arch.save(tmp_path / "arch.json")
    save_file(state, tmp_path / "weights.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    "source, network, text, side",
    [
        ("densenas", "densenas_a", published_nets.A.text, 64),
        ("densenas", "densenas_resnet", BASIC, 32),
        ("densenas", "densenas_resnet", BOTTLENECK, 32),
        ("ase_nas", "ase_nas", published_nets.ASE_NAS.text, 64),
    ],
    ids=["densenas_a", "basic", "bottleneck", "ase_nas"],
)
def test_imported_network_computes_what_the_release_does(
    tmp_path, source, network, text, side
):
    images = np.random.default_rng(1).normal(size=(1, 3, side, side))
    state, logits = getattr(torch_nets, source)(text, images)
    save_file(state, tmp_path / "checkpoint")
    if network in applications.names():
        entry = applications.APPLICATIONS.get(network)
    else:
        arch = spaces.get(network).decode(text)
        entry = applications.entry.find(arch)
    arch = entry.get_arch()
    arrays = torch_names.convert(
        checkpoints.read(tmp_path / "checkpoint"),
        torch_names.entries(source, arch), "checkpoint",
    )
    weight_files.write(tmp_path / "w.npz", arch, arrays)
    net = applications.build(
        entry, weights=tmp_path / "w.npz", input_shape=(side, side, 3),
        classifier_activation=None,
    )
    found = net(images.transpose(0, 2, 3, 1).astype(np.float32))
    assert np.std(logits) > 0.1  # or else anything would agree
    np.testing.assert_allclose(found, logits, atol=1e-4)


@pytest.mark.parametrize(
    "source, text, name",
    [
        ("densenas", published_nets.B.text, "densenas_b"),
        ("densenas", published_nets.C.text, "densenas_c"),
        ("ase_nas", published_nets.ASE_NAS_PLUS.text, "ase_nas_plus"),
    ],
)
def test_published_networks_have_the_names_and_shapes_of_the_release(
    source, text, name
):
    images = np.zeros((1, 3, 32, 32))  # sizes of images change no weight
    state, _ = getattr(torch_nets, source)(text, images)
    arch = applications.APPLICATIONS.get(name).get_arch()
    entries = torch_names.entries(source, arch)
    arrays = torch_names.convert(state, entries, "state")
    shapes = {path: value.shape for path, value in arrays.items()}
    assert shapes == weight_files.variables(arch)
    if name == "ase_nas_plus":
        assert len(state) == 417  # as the release has it


@pytest.mark.parametrize(
    "name, eps",
    [("densenas_a", 1e-3), ("densenas_c", 1e-3), ("ase_nas_plus", 1e-5)],
)
def test_applications_state_padding_and_normalisation_of_the_release(name, eps):
    blocks = applications.APPLICATIONS.get(name).get_arch().blocks
    stated = [block.attrs for block in blocks if "norm" in block.attrs]
    norm = {"eps": eps, "momentum": 0.9, "affine": True}
    assert len(stated) >= len(blocks) - 2
    assert all(a["norm"] == norm and a["pad"] == "sym" for a in stated)


@pytest.mark.parametrize("source", torch_names.SOURCES)
def test_network_that_the_release_cannot_name_is_refused(source):
    arch = applications.APPLICATIONS.get("shrink_cnn_a").get_arch()
    with pytest.raises(ConfigError, match=f"network of --from={source}"):
        torch_names.entries(source, arch)


def test_wrapped_and_distributed_names_are_accepted(tmp_path):
    _, state = _tiny()
    for prefix in ("module.", "state_dict.module.", "model."):
        path = tmp_path / "c.safetensors"
        save_file({f"{prefix}{k}": v for k, v in state.items()}, path)
        assert checkpoints.read(path).keys() == state.keys()


def test_half_precision_becomes_float32(tmp_path):
    arch, state = _tiny()
    entries = torch_names.entries("densenas", arch)
    half = {
        k: v.astype(np.float16) if v.dtype == np.float32 else v
        for k, v in state.items()
    }
    save_file(half, tmp_path / "c")
    arrays = torch_names.convert(
        checkpoints.read(tmp_path / "c"), entries, "c"
    )
    assert {v.dtype for v in arrays.values()} == {np.dtype(np.float32)}


def test_checkpoint_that_does_not_fit_is_refused_with_all_that_is_wrong():
    arch, state = _tiny()
    entries = torch_names.entries("densenas", arch)
    del state["classifier.bias"], state["input_block.1.running_var"]
    del state["input_block.1.num_batches_tracked"]  # old ones have none
    state["blocks.1.head_layer._expand_conv.0.weight"] = np.zeros((2, 8, 1, 1))
    state["blocks.9.extra"] = np.zeros(3)
    state["classifier.weight"] = np.full((3, 24), np.nan)
    with pytest.raises(ArtifactError) as error:
        torch_names.convert(state, entries, "c.pt")
    text = str(error.value)
    assert text.startswith("c.pt: ") and "5 of" in text
    for line in (
        "missing: classifier.bias (3,)",
        "missing: input_block.1.running_var (8,)",
        "unexpected: blocks.9.extra (3,)",
        "wrong shape: blocks.1.head_layer._expand_conv.0.weight: expected "
        "(24, 8, 1, 1). Received: (2, 8, 1, 1)",
        "not finite floats: classifier.weight",
    ):
        assert f"\n  {line}" in text


def _import(folder, *args):
    return programs.run(
        "tfnas.bin.import_weights", "--from=densenas", *args,
        f"--output={folder / 'w.npz'}",
    )


def test_program_converts_and_reports(tiny):
    done = _import(
        tiny, tiny / "weights.safetensors", f"--arch={tiny / 'arch.json'}",
        f"--report={tiny / 'report.json'}",
    )
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    assert any(
        line.split()[:3] == ["blocks.1.stack_layers.0", "15", "4,768"]
        for line in table
    )
    assert "all 52 tensors matched, 10 counters" in last
    report = json.loads((tiny / "report.json").read_text())
    assert len(report["tensors"]) == 52
    assert report["sha256"] == artifacts.sha256(tiny / "weights.safetensors")
    arch, state = _tiny()
    arrays = weight_files.read(tiny / "w.npz").arrays
    np.testing.assert_array_equal(
        arrays["b05_classifier_dense/kernel"], state["classifier.weight"].T
    )


def test_program_reads_the_net_config_of_the_release(tiny):
    (tiny / "net_config").write_text(f"{TINY}\nnet_type: mbv2\n")
    done = _import(
        tiny, tiny / "weights.safetensors", "--classes=3",
        f"--arch={tiny / 'net_config'}",
    )
    assert done.returncode == 0, done.stderr
    assert weight_files.read_arch(tiny / "w.npz").classes == 3


def test_program_writes_nothing_when_a_checkpoint_does_not_fit(tiny):
    done = _import(
        tiny, tiny / "weights.safetensors", "--application=densenas_a"
    )
    assert done.returncode == 2
    assert "missing: blocks.7" not in done.stderr  # the tail is no block
    assert "missing: blocks.6.head_layer._expand_conv.0.weight" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tiny / "w.npz").exists()


def test_truncated_safetensors_are_refused(tiny):
    path = tiny / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="damaged or truncated"):
        checkpoints.read(path)
    with pytest.raises(ArtifactError, match="No such file"):
        checkpoints.read(tiny / "nothing.pt")


class _Trap:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def _hostile(folder, form):
    """Writes a checkpoint with code in it; returns it and what it makes."""
    made, path = folder / "made", folder / "hostile.pt"
    content = pickle.dumps({"state_dict": _Trap(made)}, protocol=2)
    if form == "zip":  # as PyTorch writes it
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
            archive.writestr("archive/byteorder", "little")
        content = buffer.getvalue()
    path.write_bytes(content)
    return path, made


@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_code_in_a_checkpoint_is_never_executed(tmp_path, form):
    path, made = _hostile(tmp_path, form)
    with pytest.raises((ArtifactError, ConfigError)):
        checkpoints.read(path)
    assert not made.exists()
    with open(tmp_path / "control", "wb") as file:
        pickle.dump(_Trap(made), file)
    pickle.loads((tmp_path / "control").read_bytes()).close()
    assert made.exists()  # it would have been


def test_without_torch_a_pt_file_is_refused_with_the_way_out(tmp_path):
    path, made = _hostile(tmp_path, "pickle")
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from tfnas.applications import checkpoints\n"
        "from tfnas.errors import ConfigError\n"
        "try:\n"
        "    checkpoints.read(sys.argv[1])\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True, text=True,
    )
    assert "torch>=2.10" in done.stdout, done.stderr
    assert not made.exists()


@needs_torch
@pytest.mark.parametrize("form", ["plain", "wrapped", "legacy"])
def test_pt_files_are_read_as_tensors(tmp_path, form):
    import torch

    _, state = _tiny()
    value = {f"module.{k}": torch.tensor(v) for k, v in state.items()}
    if form == "wrapped":
        value = {"epoch": 3, "state_dict": value}
    torch.save(
        value, tmp_path / "w.pt",
        _use_new_zipfile_serialization=form != "legacy",
    )
    found = checkpoints.read(tmp_path / "w.pt")
    assert found.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)


@needs_torch
def test_pt_files_of_other_things_are_refused(tmp_path):
    import torch

    torch.save({"state_dict": {"a": torch.ones(2), "n": 3}}, tmp_path / "w.pt")
    with pytest.raises(ArtifactError, match=r"Received: \['n'\]"):
        checkpoints.read(tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="not a readable checkpoint"):
        checkpoints.read(tmp_path / "w.pt")
