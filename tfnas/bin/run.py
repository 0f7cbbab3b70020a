"""The whole loop: measure, search, train, export, measure again, report.

    tfnas-run --config=configs/densenas_mbv2.py:local --workdir=runs/demo

Measures the operators of the space on the device, searches under that table,
trains the network found and a random one of the same latency, exports both to
float32 and int8, times the files, and writes `report.html`. With `--rounds=2`
the measured networks calibrate the table and the search runs again. A run that
was killed goes on when the same command is given again; files that were lost
or damaged meanwhile are made anew, and it says so.
"""

from __future__ import annotations

from absl import flags

from android_bench import flags as phone_flags
from tfnas import cli
from tfnas import whole_run
from tfnas.bin import checks
from tfnas.bin import configs
from tfnas.bin import options

_CONFIG = configs.define_config()
_WORKDIR = options.define_workdir()
options.define_target()
options.define_overrides()
flags.DEFINE_integer(
    "rounds", None, "Searches; before each but the first the table is "
    "calibrated with the networks measured so far.", lower_bound=1,
)

flags.DEFINE_string(
    "device", None, "host, adb:SERIAL, adb or the dotted path of your own, "
    "instead of the config's."
)


def main(argv: list[str]) -> None:
    """Runs the loop."""
    del argv
    config = options.merge(_CONFIG.value)
    checks.require(
        config, "target_ms", "target_madds", "strategy", "lut", "search",
        "train", "run",
    )
    whole_run.check(config)
    checks.settings(config, _WORKDIR.value)
    checks.training(config)
    phone = phone_flags.options_of(threads=1)
    whole_run.device_of(config, phone)
    cli.load_tensorflow()
    whole_run.run(config, _WORKDIR.value, options=phone)


def entry() -> None:
    """Runs the program `tfnas-run`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
