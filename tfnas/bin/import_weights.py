"""Converts a PyTorch checkpoint of the authors to a weight file.

    tfnas-import-weights --from=densenas weights.safetensors \\
        --application=densenas_a --output=densenas_a.npz
    tfnas-import-weights --from=densenas weights.pt --arch=net_config \\
        --output=weights.npz

Then `tfnas.applications.DenseNASA(weights="densenas_a.npz")` has them. Every
tensor must have the name and the shape that the network asks for: a checkpoint
that does not fit is refused whole. `.pt` files are read by PyTorch (`pip
install 'torch>=2.10'`), as tensors only: code in them is never executed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from typing import Any

from absl import app
from absl import flags

from tfnas import artifacts
from tfnas import cli
from tfnas import spaces
from tfnas.arch import Arch
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.spaces import net_config

if TYPE_CHECKING:
    from tfnas.applications.torch_names import Entry

_FROM = flags.DEFINE_enum(
    "from", None, ["densenas", "ase_nas"], "Whose names the checkpoint has.",
    required=True,
)
_APPLICATION = flags.DEFINE_string(
    "application", None, "Name of the application, e.g. densenas_a."
)
_ARCH = flags.DEFINE_string(
    "arch", None, "The network: a JSON file, or the net_config file that the "
    "authors of DenseNAS put beside their weights.",
)
_CLASSES = flags.DEFINE_integer(
    "classes", None, "Classes of the checkpoint, where not those of the "
    "network.", lower_bound=1,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "The weight file to write, .npz.", required=True
)
_REPORT = flags.DEFINE_string(
    "report", None, "JSON file to write, of every tensor and what it became."
)
flags.mark_flags_as_mutual_exclusive(["application", "arch"], required=True)


def main(argv: list[str]) -> None:
    """Converts the file and prints what matched."""
    if len(argv) != 2:
        raise app.UsageError(
            f"Expected one checkpoint file. Received: {argv[1:] or 'none'}"
        )
    if not _OUTPUT.value.endswith(".npz"):
        raise ConfigError(
            "--output must end in .npz. "
            f"Received: --output={_OUTPUT.value}"
        )
    from tfnas import derive
    from tfnas.applications import checkpoints
    from tfnas.applications import torch_names
    from tfnas.applications import weights

    arch = _network()
    if _CLASSES.value is not None:
        arch = derive.with_classes(arch, _CLASSES.value)
    wanted = torch_names.entries(_FROM.value, arch)
    tensors = checkpoints.read(argv[1])
    arrays = torch_names.convert(tensors, wanted, argv[1])
    weights.write(_OUTPUT.value, arch, arrays)
    if _REPORT.value is not None:
        artifacts.write_json(_REPORT.value, _report(argv[1], arch, wanted))
    print(_summary(wanted))
    print(
        f"{_OUTPUT.value}: network {arch.id}, {arch.classes} classes; all "
        f"{len(wanted)} tensors matched, {len(tensors) - len(wanted)} "
        f"counters ({torch_names.COUNTER}) left out"
    )


def _network() -> Arch:
    """Returns the network that the flags name."""
    from tfnas import applications

    if _APPLICATION.value is not None:
        return applications.APPLICATIONS.get(_APPLICATION.value).get_arch()
    text = artifacts.read_text(_ARCH.value)
    if not text.lstrip().startswith("["):
        return Arch.load(_ARCH.value)
    try:
        net_type, _ = net_config.parse(text)
        space = {"mbv2": "densenas_mbv2", "res": "densenas_resnet"}[net_type]
        return spaces.get(space).decode(text)
    except ArtifactError as error:
        raise ArtifactError(f"{_ARCH.value}: {error}") from error


def _summary(wanted: list[Entry]) -> str:
    """Returns a line for each module of the checkpoint."""
    lines = [f"{'module':28} {'tensors':>7} {'values':>11}  becomes"]
    groups: dict[int, list[Entry]] = {}
    for tensor in wanted:
        groups.setdefault(tensor.block, []).append(tensor)
    for group in groups.values():
        first = group[0]
        module = first.module.rstrip(".") or first.name.rpartition(".")[0]
        values = sum(math.prod(tensor.shape) for tensor in group)
        layer = first.variable.rpartition("/")[0]
        lines.append(
            f"{module:28} {len(group):7} {values:11,}  {layer}, ..."
        )
    return "\n".join(lines)


def _report(
    checkpoint: str, arch: Arch, wanted: list[Entry]
) -> dict[str, Any]:
    """Returns every tensor and what it became, as a JSON value."""
    return {
        "format": "tfnas-imported/1",
        "checkpoint": checkpoint,
        "sha256": artifacts.sha256(checkpoint),
        "arch_id": arch.id,
        "weights": _OUTPUT.value,
        "tensors": [
            {
                "name": tensor.name,
                "shape": [*tensor.shape],
                "variable": tensor.variable,
            }
            for tensor in wanted
        ],
    }


def entry() -> None:
    """Runs the program `tfnas-import-weights`."""
    cli.run(main, words=True)


if __name__ == "__main__":
    entry()
