"""The flag `--config`: a Python file by its path, or a config by its name.

`configs/densenas_mbv2.py:local` is a file and its variant. The bare name
`densenas_mbv2:local` means `./configs/densenas_mbv2.py` where there is one,
else the file of that name that is installed with tfnas. Single fields are set
with `--config.search.epochs=3`. A config file is Python and is executed.
"""

import importlib.util
import os
import pathlib
import re
import sys
import traceback
import types
from importlib.machinery import SourceFileLoader

from absl import flags
from ml_collections import config_dict
from ml_collections import config_flags
from ml_collections.config_flags import config_path
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from tfnas.errors import ConfigError

# Help lists the flag with the program that asked for it.
flags.disclaim_key_flags()

# Fields of `config.lut` that most configs leave out: `"xnnpack"` and 5 %.
_LUT_FIELDS = {"lower": str, "max_table_error": float}


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


def load(spec: str) -> config_dict.ConfigDict:
    """Returns the locked config that `--config=spec` gives, not overridden.

    Fields of its sections `data` and `lut` that it leaves out are there and
    null, so that each can be set by its flag.

    Args:
        spec: a path or a name, with `:variant` or without.

    Raises:
        ConfigError: if there is no such config, or its file fails.
    """
    name, *variant = spec.split(":", 1)
    path = find(name)
    try:
        config = _get_config(path, *variant)
    except ConfigError:
        raise
    except Exception as error:  # the file is the user's own program
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if f.filename == str(path)]
        place = ":".join(map(str, [path, *lines[-1:]]))
        raise ConfigError(
            f"{place}: {type(error).__name__}: {error}"
        ) from error
    _fill_in(config, path)
    return config.lock()


def _fill_in(config: config_dict.ConfigDict, path: pathlib.Path) -> None:
    """Gives its sections all their fields, each of a type flags can set."""
    from tfnas.data import fields

    lut = config.get("lut")
    if isinstance(lut, config_dict.ConfigDict):
        with lut.unlocked():
            for name, kind in _LUT_FIELDS.items():
                if lut.get(name) is None:
                    lut[name] = config_dict.placeholder(kind)
    section = config.get("data")
    if not isinstance(section, config_dict.ConfigDict):
        return
    try:
        fields.check_names(section)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    with section.unlocked():
        for name, field in fields.of(section.get("name")).items():
            if name not in section or section.get_type(name) is type(None):
                section[name] = config_dict.placeholder(field.kind)
            elif field.kind is object:
                # In its place: other fields of the config may refer to it.
                section.get_ref(name)._field_type = object


def _get_config(path: pathlib.Path, *variant: str) -> config_dict.ConfigDict:
    loader = SourceFileLoader("tfnas_config", str(path))
    module = types.ModuleType(loader.name)
    loader.exec_module(module)
    config = module.get_config(*variant)
    if not isinstance(config, config_dict.ConfigDict):
        raise ConfigError(
            f"{path}: expected get_config() to return a ConfigDict. "
            f"Received: {config!r}"
        )
    return config


def find(name: str) -> pathlib.Path:
    """Returns the file that a path or a bare config name means.

    Raises:
        ConfigError: if there is none; the message lists the known names.
    """
    if name.endswith(".py") or os.sep in name:
        path = pathlib.Path(name)
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such config file")
        return path
    known = {}
    for folder in (_installed(), pathlib.Path("configs")):
        for path in sorted(folder.glob("[!_]*.py")):
            known[path.stem] = path
    if name not in known:
        raise ConfigError(
            "Expected the path of a config file or one of these names: "
            f"{', '.join(sorted(known))}. Received: config={name!r}"
        )
    return known[name]


def _installed() -> pathlib.Path:
    spec = importlib.util.find_spec("tfnas.configs")
    if spec is None or spec.origin is None:  # run from an uninstalled tree
        return pathlib.Path("configs")
    return pathlib.Path(spec.origin).parent


class _ConfigParser(ConfigFileFlagParser):
    """The stock parser of `--config` with bare names and plain errors."""

    def parse(self, spec: str) -> config_dict.ConfigDict:
        config = load(spec)
        for word in sys.argv[1:]:
            match = re.match(r"--?(?:no)?config\.([^=]*)", word)
            if match:
                _check_field(config, match[1])
        return config


def _check_field(config: config_dict.ConfigDict, field: str) -> None:
    try:
        config_path.get_type(field, config)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"The config has no such field. Received: --config.{field} "
            f"({error})"
        ) from error
