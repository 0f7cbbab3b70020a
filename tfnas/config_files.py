"""Configs by path or by name: `configs/x.py:local` or `x:local`.

`configs/densenas_mbv2.py:local` is a file and its variant. The bare name
`densenas_mbv2:local` means `./configs/densenas_mbv2.py` where there is one,
else the file of that name that is installed with tfnas. A config file is
Python and is executed.
"""

import difflib
import importlib.util
import os
import pathlib
import traceback
import types
from collections.abc import Iterator
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from typing import Any

from ml_collections import config_dict
from ml_collections.config_flags import config_path

from tfnas.errors import ConfigError

# Fields of `config.lut` that most configs leave out: `"xnnpack"` and 5 %.
_LUT_FIELDS = {"lower": str, "max_table_error": float}
_NEAR = 3  # names that a wrong one is answered with


def config(
    spec: str, overrides: Mapping[str, Any] | None = None, /, **fields: Any
) -> config_dict.ConfigDict:
    """Returns the config of that name, with some fields set.

    Args:
        spec: A name such as `"densenas_mbv2:local"`, or the path of a config
            file; what stands after the colon is its variant.
        overrides: Values by the names that programs take after `--config.`,
            such as `{"search.epochs": 3}`; a dict sets fields of a section.
        **fields: Values of fields at the top, such as `seed=1`.

    Returns:
        A locked `ConfigDict`, as `tfnas.run_search` takes it.

    Raises:
        ConfigError: for a config, a field or a type that there is not; the
            message lists near names.

    Example:
        >>> name, fields = "densenas_mbv2:local", {"search.epochs": 3}
        >>> config = tfnas.config(name, fields, seed=1)
        >>> config.search.epochs, config.seed
        (3, 1)
    """
    config = load(spec)
    for name, value in _flat({**(overrides or {}), **fields}):
        check_field(config, name)
        try:
            config.update_from_flattened_dict({name: value})
        except (KeyError, TypeError, ValueError) as error:
            kind = config_path.get_type(name, config).__name__
            kind = "a section" if kind == "ConfigDict" else f"of type {kind}"
            raise ConfigError(
                f"`{name}` must be {kind}. Received: {name}={value!r}"
            ) from error
    return config


def check_field(
    config: config_dict.ConfigDict, name: str, flag: str = ""
) -> None:
    """Refuses a name that no field of a config has.

    Args:
        config: The config.
        name: Such as `"search.epochs"`.
        flag: What stands before the name on a command line.

    Raises:
        ConfigError: with the names that are nearest.
    """
    try:
        config_path.get_type(name, config)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            "The config has no such field; near ones are "
            f"{', '.join(_near(name, config))}. Received: {flag}{name}"
        ) from error


def _near(name: str, config: config_dict.ConfigDict) -> list[str]:
    """Returns the fields whose names, or their last parts, are like `name`."""
    known = [field for field, _ in _flat(config)]
    last = name.rpartition(".")[2]

    def likeness(field: str) -> float:
        return max(
            difflib.SequenceMatcher(None, *pair).ratio()
            for pair in ((name, field), (last, field.rpartition(".")[2]))
        )

    return sorted(known, key=likeness, reverse=True)[:_NEAR]


def _flat(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, (Mapping, config_dict.ConfigDict)):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


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
