"""What others set in Keras changes no network and no figure of ours."""

import json
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

import tfnas
from tests import tiny_runs
from tfnas import applications
from tfnas import keras_settings
from tfnas import recurrent_model
from tfnas.errors import ConfigError

# Builds one network of each kind; says its weights and its outputs.
BUILD = """
import json, sys
import numpy as np
exec(sys.argv[1])
import tfnas
from tfnas import applications, recurrent_model
import keras
keras.utils.set_random_seed(1)

def describe(model, *given):
    for i, weight in enumerate(model.weights):
        draw = np.random.default_rng(i).uniform(0.5, 1, weight.shape)
        weight.assign(draw / weight.shape[0])
    outputs = model(list(given) if given[1:] else given[0])
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [
        model.count_params(), [list(w.shape) for w in model.weights],
        [str(w.dtype) for w in model.weights],
        [np.asarray(o, np.float64).ravel()[:9].tolist() for o in outputs],
    ]

settings = lambda: [
    keras.config.image_data_format(), keras.config.floatx(),
    keras.config.epsilon(), keras.config.dtype_policy().name,
]
before = settings()
image = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
space = tfnas.spaces.get("mobilenetv3@32")
words = tfnas.spaces.get("autoshrink_rnn@32").sample(seed=0)
networks = [
    describe(tfnas.build_model(space.sample(seed=0)), image),
    describe(
        tfnas.build_model(tfnas.spaces.get("nasbench201").sample(seed=3)),
        image,
    ),
    describe(
        applications.DenseNASC(
            input_shape=(32, 32, 3), include_top=False, pooling="max",
        ),
        image,
    ),
    describe(
        recurrent_model.build_language_model(words),
        np.ones((2, 3), np.int32), np.zeros((2, 32), np.float32),
    ),
]
assert settings() == before, settings()  # they stay the user's
print(json.dumps([before, networks]))
"""
THEIRS = "import keras; left = lambda: [" + ", ".join(
    [
        "keras.config.image_data_format()", "keras.config.floatx()",
        "keras.config.epsilon()", "keras.config.dtype_policy().name",
    ]
) + "]"


CHANNELS_FIRST = {
    "image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.5,
}
POLICY = (
    "import keras; keras.config.set_dtype_policy('mixed_float16'); "
    "keras.config.set_floatx('bfloat16')"
)


def _run(script, *args, home=None, **variables):
    environment = {**os.environ, **variables}
    if home is not None:
        environment["KERAS_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        cwd=tiny_runs.ROOT, env=environment, capture_output=True, text=True,
    )


@pytest.fixture
def home(tmp_path):
    """Returns `f(**settings)` to a folder with this `keras.json`."""

    def write(**settings):
        (tmp_path / "keras.json").write_text(json.dumps(settings))
        return tmp_path

    return write


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    done = _run(BUILD, "", home=tmp_path_factory.mktemp("keras"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])[1]


@pytest.mark.parametrize(
    "settings, code",
    [
        # Both kinds of settings at once; each alone runs with the slow ones.
        (CHANNELS_FIRST, POLICY),
        pytest.param(CHANNELS_FIRST, "", marks=pytest.mark.slow),
        pytest.param({"floatx": "float64"}, POLICY, marks=pytest.mark.slow),
        pytest.param(
            {}, "import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_networks_are_the_same_under_any_settings(
    usual, home, settings, code
):
    done = _run(BUILD, code, home=home(**settings))
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    changed = {"floatx": "bfloat16"} if code == POLICY else {}
    names = ("image_data_format", "floatx", "epsilon")
    left = dict(zip(names, theirs, strict=False))
    assert {**settings, **changed}.items() <= left.items()
    for expected, found in zip(usual, ours, strict=True):
        assert found[:3] == expected[:3]
        for values, wanted in zip(found[3], expected[3], strict=True):
            assert values == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_threads_take_turns_and_leave_what_was_there():
    keras.config.set_epsilon(0.125)
    seen = []

    def work():
        for _ in range(50):
            with keras_settings.pinned():
                with keras_settings.pinned():
                    seen.append(keras.config.epsilon())
                seen.append(keras.config.epsilon())

    threads = [threading.Thread(target=work) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(seen) == {1e-7} and len(seen) == 400
        assert keras.config.epsilon() == 0.125
    finally:
        keras.config.set_epsilon(1e-7)


def test_both_kerases_are_pinned_and_left_alone():
    import tf_keras

    tf_keras.backend.set_image_data_format("channels_first")
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        with keras_settings.pinned(keras, tf_keras):
            layer = tf_keras.layers.Conv2D(1, 1)
            assert layer.data_format == "channels_last"
            assert layer.dtype_policy.name == "float32"
        assert tf_keras.backend.image_data_format() == "channels_first"
        policy = tf_keras.mixed_precision.global_policy()
        assert policy.name == "mixed_float16"
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
        tf_keras.backend.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    "script",
    [
        "import tfnas; tfnas.build_model("
        "tfnas.spaces.get('nasbench201').sample(0))",
        "from tfnas.search import run_search",
        "from tfnas import applications; applications.DenseNASA()",
    ],
)
def test_another_backend_is_refused_before_keras_is_imported(home, script):
    done = _run(script, home=home(), KERAS_BACKEND="jax")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "tfnas.errors.ConfigError: Expected the Keras backend tensorflow. "
        "Received: 'jax' from the environment variable KERAS_BACKEND; "
        "set KERAS_BACKEND=tensorflow before Keras is imported"
    )


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy", "openvino"])
def test_another_backend_is_named_with_its_place(home, backend, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_HOME", str(home(backend=backend)))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with pytest.raises(ConfigError, match=f"'{backend}' from .*keras.json"):
        keras_settings.check()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    keras_settings.check()  # the environment decides, as it does for Keras
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(ConfigError, match="the environment variable KERAS_B"):
        keras_settings.check()


def test_a_light_import_minds_no_backend(home):
    script = (
        "import sys, tfnas; tfnas.spaces.get('nasbench201').sample(0); "
        "assert 'tensorflow' not in sys.modules"
    )
    done = _run(script, home=home(backend="jax"), KERAS_BACKEND="torch")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "settings, name",
    [
        ({"floatx": "bfloat16"}, "floatx"),
        ({"epsilon": 1}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"epsilon": -1e-7}, "epsilon"),
        ({"image_data_format": "last"}, "image_data_format"),
    ],
)
def test_a_file_that_keras_cannot_read_is_named(
    home, settings, name, monkeypatch
):
    monkeypatch.setenv("KERAS_HOME", str(home(**settings)))
    monkeypatch.delitem(sys.modules, "keras")
    with pytest.raises(ConfigError, match=f'keras.json: field "{name}"'):
        keras_settings.check()


def test_a_file_of_too_many_levels_is_named(home, monkeypatch):
    folder = home()
    (folder / "keras.json").write_text("[" * 200_000)
    monkeypatch.setenv("KERAS_HOME", str(folder))
    monkeypatch.delitem(sys.modules, "keras")
    with pytest.raises(ConfigError, match="keras.json: .* of few levels"):
        keras_settings.check()


@pytest.mark.parametrize(
    "variable", ["KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"]
)
def test_a_limit_that_is_no_integer_is_named(home, monkeypatch, variable):
    monkeypatch.setenv("KERAS_HOME", str(home()))
    monkeypatch.delitem(sys.modules, "keras")
    for value in ("", "ten", "1.5"):
        monkeypatch.setenv(variable, value)
        with pytest.raises(ConfigError, match=f"{variable} must .*'{value}'$"):
            keras_settings.check()
    monkeypatch.setenv(variable, " 3 ")
    keras_settings.check()  # as Keras reads it


SETTINGS = {
    "image_data_format": "channels_first", "floatx": "float16",
    "epsilon": 0.5, "backend": "jax",
}


@pytest.mark.parametrize("code, settings, variables", [
    (0, SETTINGS, {"KERAS_BACKEND": "torch"}),
    (2, {"floatx": "bfloat16"}, {}),
])
def test_programs_set_their_own_process(home, code, settings, variables):
    script = (
        f"import json\n"
        "from absl import flags\nfrom tfnas import cli\n"
        "def main(argv):\n"
        "    cli.load_tensorflow()\n"
        f"    {THEIRS}\n"
        "    print(json.dumps([keras.config.backend(), *left()]))\n"
        "cli.run(main)"
    )
    done = _run(script, home=home(**settings), **variables)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.startswith("error: ")
        assert 'keras.json: field "floatx"' in done.stderr
    else:
        assert json.loads(done.stdout.splitlines()[-1]) == [
            "tensorflow", "channels_last", "float32", 1e-7, "float32"
        ]


def test_a_settings_file_that_cannot_be_opened_is_bad_input(tmp_path):
    (tmp_path / "keras.json").mkdir()
    script = (
        "from tfnas import cli\n"
        "def main(argv):\n    cli.load_tensorflow()\n"
        "cli.run(main)"
    )
    done = _run(script, home=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {tmp_path}/keras.json: expected a file that can be read, or "
        "Keras cannot be imported. Received: Is a directory\n"
    )


def _models():
    arch = tfnas.spaces.get("nasbench201").sample(seed=3)
    words = tfnas.spaces.get("autoshrink_rnn@32").sample(seed=0)
    image = np.zeros((1, 32, 32, 3), np.float32)
    word, state = np.zeros((1, 2), np.int32), np.zeros((1, 32), np.float32)
    yield applications.TFNASSmall(weights="cifar10"), image
    yield applications.feature_extractor("tfnas_small"), image
    yield applications.with_new_head("tfnas_small", 3, None), image
    yield applications.from_arch(arch, include_top=False), image
    yield tfnas.build_model(arch), image
    yield tfnas.build_model(words), [word[:, 0], state]
    yield recurrent_model.build_language_model(words), [word, state]


def test_a_model_has_our_type_as_its_layers_have():
    usual = [model(given) for model, given in _models()]
    theirs = keras.dtype_policies.QuantizedDTypePolicy("int8", "float32")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(theirs)
    try:
        for (model, given), expected in zip(_models(), usual, strict=True):
            assert model.dtype_policy.name == "float32"
            found = model(given)
            for one, other in zip(
                keras.tree.flatten(found), keras.tree.flatten(expected),
                strict=True,
            ):
                assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert keras.config.dtype_policy() is theirs
    finally:
        keras.config.set_dtype_policy(before)
