"""Names in the authors' PyTorch checkpoints, and what they are called here.

A source is a release whose networks have one naming. What a checkpoint must
hold follows from the blocks of the network and the primitive layers that each
of them lowers to; the tables below say what the release calls those layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np

from tfnas import derive
from tfnas import ops
from tfnas.arch import Arch
from tfnas.arch import Block
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.ops.graph import Shape
from tfnas.spaces import net_config

# Of each op: our primitive layer to the module of the release.
_DENSENAS: Mapping[str, Mapping[str, str]] = {
    "stem": {"conv": "input_block.0", "conv_bn": "input_block.1"},
    "mbconv": {
        "expand": "_expand_conv.0", "expand_bn": "_expand_conv.1",
        "depthwise": "_depthwise_conv.0", "depthwise_bn": "_depthwise_conv.1",
        "project": "_project_conv.0", "project_bn": "_project_conv.1",
    },
    "basic": {
        "conv1": "conv1", "conv1_bn": "bn1", "conv2": "conv2",
        "conv2_bn": "bn2", "shortcut": "downsample.0",
        "shortcut_bn": "downsample.1",
    },
    "bottleneck": {
        "conv1": "conv1", "conv1_bn": "bn1", "conv2": "conv2",
        "conv2_bn": "bn2", "conv3": "conv3", "conv3_bn": "bn3",
        "shortcut": "downsample.0", "shortcut_bn": "downsample.1",
    },
    "conv": {
        "conv": "conv1_1_block.conv1_1.0",
        "conv_bn": "conv1_1_block.conv1_1.1",
    },
    "classifier": {"dense": "classifier"},
}
_MBCONV = {
    "expand": "inverted_bottleneck.conv",
    "expand_bn": "inverted_bottleneck.bn",
    "depthwise": "depth_conv.conv", "depthwise_bn": "depth_conv.bn",
    "project": "point_linear.conv", "project_bn": "point_linear.bn",
    "se_reduce": "depth_conv.se.fc.reduce",
    "se_expand": "depth_conv.se.fc.expand",
}
_ASE_NAS: Mapping[str, Mapping[str, str]] = {
    "stem": {"conv": "first_conv.conv", "conv_bn": "first_conv.bn"},
    "mbconv": _MBCONV,
    "mbconv_se": _MBCONV,
    "conv": {
        "conv": "final_expand_layer.conv", "conv_bn": "final_expand_layer.bn"
    },
    "pooled_conv": {"conv": "feature_mix_layer.conv"},
    "classifier": {"dense": "classifier.linear"},
}
_ASE_NAS_NORM = {"eps": 1e-5, "momentum": 0.9, "affine": True}
# Keras variable to the name in PyTorch, and how to order the axes of that.
_NORM = {
    "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_KERNEL_AXES = {
    "conv": (2, 3, 1, 0), "depthwise": (2, 3, 0, 1), "dense": (1, 0)
}
COUNTER = "num_batches_tracked"  # of a normalisation: nothing to us


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor of a checkpoint and the variable that it becomes.

    Args:
        name: In the checkpoint.
        shape: In the checkpoint.
        variable: Path of the Keras variable.
        axes: Axes of the tensor in the order of the variable's.
        block: Index of its block.
        module: Name in the checkpoint of the module of that block.
    """

    name: str
    shape: Shape
    variable: str
    axes: tuple[int, ...]
    block: int
    module: str


def entries(source: str, arch: Arch) -> list[Entry]:
    """Returns all tensors that a checkpoint of a network must hold.

    Args:
        source: One of `SOURCES`.
        arch: The network.

    Raises:
        ConfigError: for a network that the release cannot name, or one whose
            padding or batch-norm settings are not those of the release.
    """
    tables, modules_of = SOURCES[source]
    modules = modules_of(arch)
    result = []
    for i, (block, shape) in enumerate(
        zip(arch.blocks, ops.shapes(arch), strict=False)
    ):
        table = tables["stem" if i == 0 else block.op]
        graph = ops.lower(block, shape)
        for node in graph.live:
            layer = f"{derive.layer_prefix(i, block.op)}_{node.name}"
            for variable in graph.variables(node):
                size = variable.shape
                word, axes = _tensor(node.kind, variable.name, len(size))
                result.append(
                    Entry(
                        f"{modules[i]}{table[node.name]}.{word}",
                        tuple(size[axes.index(a)] for a in range(len(axes))),
                        f"{layer}/{variable.name}", axes, i, modules[i],
                    )
                )
    return result


def _tensor(
    kind: str, variable: str, rank: int
) -> tuple[str, tuple[int, ...]]:
    """Returns the PyTorch name of a variable, and the order of its axes."""
    if kind == "norm":
        return _NORM[variable], (0,)
    if variable == "kernel":
        return "weight", _KERNEL_AXES[kind]
    return variable, tuple(range(rank))


def _densenas_modules(arch: Arch) -> list[str]:
    """Returns the module of each block of a DenseNAS network."""
    try:
        rows = net_config.to_rows(arch)  # refuses other settings, too
    except ArtifactError as error:
        raise ConfigError(f"not a network of --from=densenas: {error}") from (
            error
        )
    modules = [""]
    for r, row in enumerate(rows):
        if row.head == "conv1_1":
            modules.append("")
            continue
        modules.append(f"blocks.{r}.head_layer.")
        modules += [
            f"blocks.{r}.stack_layers.{s}." for s in range(len(row.stack))
        ]
    return [*modules, ""]


def _ase_nas_modules(arch: Arch) -> list[str]:
    """Returns the module of each block of an ASE-NAS network."""
    names = [block.op for block in arch.blocks]
    body = names[1:-3]
    if (
        names[:1] + names[-3:] != ["conv", "conv", "pooled_conv", "classifier"]
        or not {*body} <= {"mbconv", "mbconv_se"}
        or not all(_is_as_released(block) for block in arch.blocks)
    ):
        raise ConfigError(
            "not a network of --from=ase_nas: expected a stem, inverted "
            "residuals, conv, pooled_conv and classifier, padded by half a "
            f"kernel, with {_ASE_NAS_NORM}. Received: arch={arch.id}, "
            f"space={arch.space!r}, {names}"
        )
    blocks = [
        f"blocks.{b}.mobile_inverted_conv." for b in range(len(body))
    ]
    return ["", *blocks, "", "", ""]


def _is_as_released(block: Block) -> bool:
    attrs = ops.get(block.op).attributes(block)
    return (
        attrs.get("pad", "sym") == "sym"
        and attrs.get("norm", _ASE_NAS_NORM) == _ASE_NAS_NORM
    )


# Name of a release: what it calls layers, and what it calls blocks.
SOURCES: Mapping[
    str,
    tuple[
        Mapping[str, Mapping[str, str]], Callable[[Arch], list[str]]
    ],
] = {
    "densenas": (_DENSENAS, _densenas_modules),
    "ase_nas": (_ASE_NAS, _ase_nas_modules),
}


def convert(
    tensors: Mapping[str, np.ndarray], wanted: list[Entry], place: str
) -> dict[str, np.ndarray]:
    """Returns the variables of a network from the tensors of a checkpoint.

    Args:
        tensors: All tensors of the checkpoint, by name.
        wanted: What `entries` returned.
        place: The file, for error messages.

    Raises:
        ArtifactError: unless names and shapes are just those; the message
            lists all that are missing, unexpected, of another shape, or
            not finite floats.
    """
    by_name = {entry.name: entry for entry in wanted}
    counters = {
        f"{name.rpartition('.')[0]}.{COUNTER}"
        for name in by_name if name.endswith(".running_mean")
    }
    problems = [
        f"missing: {name} {entry.shape}"
        for name, entry in by_name.items() if name not in tensors
    ]
    for name, value in tensors.items():
        if name in counters:
            continue
        if name not in by_name:
            problems.append(f"unexpected: {name} {value.shape}")
        elif value.shape != by_name[name].shape:
            problems.append(
                f"wrong shape: {name}: expected {by_name[name].shape}. "
                f"Received: {value.shape}"
            )
        elif value.dtype.kind != "f" or not np.isfinite(value).all():
            problems.append(
                f"not finite floats: {name}, {value.dtype}"
            )
    if problems:
        raise ArtifactError(
            f"{place}: not the weights of this network; {len(problems)} of "
            f"{len(by_name)} tensors do not fit:\n  "
            + "\n  ".join(problems)
        )
    return {
        entry.variable: np.ascontiguousarray(
            tensors[entry.name].transpose(entry.axes), np.float32
        )
        for entry in wanted
    }
