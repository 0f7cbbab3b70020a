"""The flag `--config`: a Python file by its path, or a config by its name.

Which files there are, `tfnas.config_files` knows. Single fields are set with
`--config.search.epochs=3`.
"""

import re
import sys

from absl import flags
from ml_collections import config_dict
from ml_collections import config_flags
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from tfnas import config_files

# Help lists the flag with the program that asked for it.
flags.disclaim_key_flags()


def define_config(required: bool = True) -> flags.FlagHolder:
    """Defines `--config` and its overrides for a program.

    Args:
        required: whether the program refuses to start without it.

    Returns:
        The holder whose `.value` is the merged, locked `ConfigDict`.
    """
    holder = config_flags.DEFINE_config_file(
        "config",
        help_string=(
            "Config file and variant, by path (configs/x.py:local) or by name "
            "(x:local). Fields are overridden with --config.field=value."
        ),
    )
    flags.FLAGS["config"].parser = _ConfigParser("config")
    if required:
        flags.mark_flag_as_required("config")
    return holder


class _ConfigParser(ConfigFileFlagParser):
    """The stock parser of `--config` with bare names and plain errors."""

    def parse(self, spec: str) -> config_dict.ConfigDict:
        config = config_files.load(spec)
        for word in sys.argv[1:]:
            match = re.match(r"--?(?:no)?config\.([^=]*)", word)
            if match:
                config_files.check_field(config, match[1], "--config.")
        return config
