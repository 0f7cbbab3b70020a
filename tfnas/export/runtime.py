"""The LiteRT interpreter, opened with care and without chatter."""

import os

from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.interpreter import OpResolverType

from tfnas.cli import quiet
from tfnas.errors import ArtifactError

# One image, or word, at a time keeps no more threads busy.
THREADS = min(os.cpu_count() or 1, 4)


def open_interpreter(
    blob: bytes,
    source: str = "model",
    *,
    delegate: bool = True,
    threads: int = 1,
    keep_tensors: bool = False,
) -> Interpreter:
    """Returns an interpreter that is ready to run.

    Args:
        blob: content of a `.tflite` file.
        source: its name, for error messages.
        delegate: whether XNNPACK runs what it can, as on a phone, and nothing
            where it refuses the model (see `delegate_fault`); without it the
            interpreter shows the ops exactly as they are in the file.
        threads: how many of them run the model.
        keep_tensors: whether tensors between the ops can be read after a run.

    Raises:
        ArtifactError: if the bytes are no model that this runtime can run.
    """
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    resolvers = [OpResolverType.BUILTIN, plain] if delegate else [plain]
    for resolver in resolvers:
        try:
            return _open(blob, resolver, threads, keep_tensors)
        except (RuntimeError, ValueError) as error:
            fault = error
    raise ArtifactError(
        f"{source}: expected a whole .tflite model. "
        f"Received: {len(blob)} bytes ({fault})"
    ) from fault


def delegate_fault(blob: bytes) -> str | None:
    """Returns why XNNPACK refuses a model; `None` if it does not."""
    try:
        _open(blob, OpResolverType.BUILTIN)
    except (RuntimeError, ValueError) as error:
        return str(error).strip()
    return None


def _open(
    blob: bytes, resolver: OpResolverType, threads: int = 1,
    keep_tensors: bool = False,
) -> Interpreter:
    with quiet():
        interpreter = Interpreter(
            model_content=blob,
            experimental_op_resolver_type=resolver,
            num_threads=threads,
            experimental_preserve_all_tensors=keep_tensors,
        )
        interpreter.allocate_tensors()
    return interpreter


def named_outputs(interpreter: Interpreter) -> dict[str, int]:
    """Returns the outputs of an open model by name, as indices of tensors.

    The names are those of its signature; without one, the tensors' own.
    """
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        details = runner.get_output_details()
        return {name: int(t["index"]) for name, t in details.items()}
    outputs = interpreter.get_output_details()
    return {t["name"]: int(t["index"]) for t in outputs}
