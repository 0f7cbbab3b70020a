"""How every program of tfnas starts and ends.

absl parses the flags; the exit codes are ours: 0 done (also help), 1 failed
(a full disk, say: the same command may do it later), 2 bad usage or bad
input, 130 or 143 ended by Ctrl-C or SIGTERM, 141 when nobody reads on.
"""

import contextlib
import os
import select
import shlex
import sys
import types
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from typing import NoReturn

from absl import app
from absl import flags
from absl import logging

from tfnas import __version__
from tfnas import keras_settings
from tfnas import stopping
from tfnas.errors import TfnasError
from tfnas.errors import printable

flags.DEFINE_bool("version", False, "Print the version and do nothing.")
_UNREAD = 141  # as a program that SIGPIPE ends


def run(main: Callable[[list[str]], None], *, words: bool = False) -> NoReturn:
    """Parses the flags, runs `main(argv)` and ends the process.

    Args:
        main: the program; `argv[0]` is its name.
        words: whether it takes words beside its flags (file names, say). They
            are then `argv[1:]`.

    Raises:
        SystemExit: always, with the exit code of the program.
    """

    def guarded(argv: list[str]) -> None:
        try:
            if argv[1:] and not words:
                raise app.UsageError(
                    f"Expected flags only. Received: {' '.join(argv[1:])}"
                )
            with stopping.handled():
                main(argv)
            _flush()
        except (app.UsageError, flags.Error) as error:
            _fail(str(error), 2)
        except TfnasError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and _is_unread():
                _leave_unread()
            _fail(str(error), 1)
        except KeyboardInterrupt as error:
            print(f"{error}. To go on:\n  {_command()}", file=sys.stderr)
            raise SystemExit(getattr(error, "exit_code", 130)) from None

    # TensorFlow reads these when it is imported, which is still to come.
    # oneDNN prepares a kernel for every new shape, and a supernet has another
    # one at every step: without it a search on the CPU is 3 times as fast.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    keras_settings.pin_environment()
    _show_help_of(sys.modules[main.__module__])
    app.run(guarded, flags_parser=_parse_flags)
    raise SystemExit(0)


def _parse_flags(argv: list[str]) -> list[str]:
    if "--version" in argv[1:]:  # whatever flags are required
        print(f"{os.path.basename(argv[0])} {__version__}")
        _flush()
        raise SystemExit(0)
    try:
        return flags.FLAGS(argv)
    except SystemExit:  # absl ends --help with 1
        _flush()
        raise SystemExit(0) from None
    except BrokenPipeError:  # in the middle of a long help
        _leave_unread()
    except (flags.Error, TfnasError) as error:
        _fail(f"{error}\nTry --helpshort.", 2)


def _show_help_of(module: types.ModuleType) -> None:
    # absl describes `__main__`, which is a generated script when a program
    # is started by its installed name.
    sys.modules["__main__"].__doc__ = module.__doc__
    for flag in [
        *flags.FLAGS.get_key_flags_for_module(module), flags.FLAGS["version"]
    ]:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _command() -> str:
    """Returns the command that started this program."""
    spec = sys.modules["__main__"].__spec__
    program = [os.path.basename(sys.argv[0])]
    if spec is not None and sys.argv[0].endswith(".py"):
        program = [sys.executable, "-m", spec.name]
    return shlex.join([*program, *sys.argv[1:]])


def _flush() -> None:
    """Writes what was printed, or leaves quietly where nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_unread()


def _is_unread() -> bool:
    """Says whether the reader of the output has gone, as `head` does."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))


def _leave_unread() -> NoReturn:
    # What is still to be written at the end goes nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(_UNREAD)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {printable(message)}", file=sys.stderr)
    raise SystemExit(code)


def load_tensorflow() -> None:
    """Imports TensorFlow without the chatter of its start and of its work.

    Keras, which comes with it, has our settings from then on.

    Raises:
        ConfigError: if its `keras.json` keeps it from being imported.
    """
    keras_settings.check()
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    with quiet():
        import tensorflow as tf

        tf.config.list_physical_devices()
        keras_settings.pin()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides Python warnings and everything written to standard error.

    The converter and the runtime log from C++, past `sys.stderr`, so it is
    the file descriptor that has to be turned away. What goes wrong inside
    still arrives as an exception.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
