"""The house has levels: each module imports only from the levels below it."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MAX_LINES = 600

# Lowest first; the parts of one level do not import each other.
LEVELS = [
    ["tfnas.__version__"],
    ["tfnas.errors", "tfnas.stopping", "tfnas.text_table"],
    ["tfnas.keras_settings", "tfnas.fields"],
    ["tfnas.keras_checked"],
    [
        "tfnas.registry", "tfnas.artifacts", "tfnas.cli",
        "tfnas.tflite_packing", "tfnas.tflite_worker", "tfnas.feed",
        "tfnas.seeds",
    ],
    ["tfnas.labels", "tfnas.locks"],
    ["tfnas.arch"],
    ["tfnas.ops"],
    ["tfnas.lowering", "tfnas.cost.counting"],
    ["tfnas.spaces"],
    ["tfnas.cost", "tfnas.data"],
    ["tfnas.supernets", "tfnas.derive", "tfnas.model_files",
     "tfnas.leading_scale", "tfnas.results", "tfnas.measuring"],
    ["tfnas.recurrent_model"],
    ["tfnas.train", "tfnas.export", "tfnas.applications"],
    ["tfnas.search", "tfnas.report", "tfnas.tuning", "tfnas.config_files"],
    ["tfnas.whole_run"],
    ["tfnas.bin"],
]
LEVEL_OF = {part: i for i, parts in enumerate(LEVELS) for part in parts}

# What the two benchmark packages take from outside, and who knows them.
BRIDGES = {"tfnas.measuring", "tfnas.whole_run", "tfnas.bin"}
BASE = {
    "tfnas.errors", "tfnas.artifacts", "tfnas.cli", "tfnas.locks",
    "tfnas.seeds",
}
BORROWS = {
    "tflite_bench": BASE,
    "tflite_bench.writer": BASE | {
        "tfnas.arch", "tfnas.ops", "tfnas.lowering"
    },
    "tflite_bench.flatbuffer": BASE | {
        "tfnas.tflite_packing", "tfnas.lowering"
    },
    "tflite_bench.build": BASE | {"tfnas.lowering"},
    "tflite_bench.operators": BASE | {
        "tfnas.tflite_packing", "tfnas.lowering"
    },
    "tflite_bench.interpreter": BASE | {"tfnas.tflite_packing"},
    "tflite_bench.cutting": BASE | {"tfnas.tflite_packing"},
    "tflite_bench.convert": BASE | {"tfnas.arch", "tfnas.ops"},
    "android_bench.plausible": BASE | {"tfnas.tflite_packing"},
    "android_bench": BASE
    | {
        "tflite_bench.device", "tflite_bench.interpreter",
        "tflite_bench.journal", "tflite_bench.stats",
    },
}

# These start in milliseconds, because they do without TensorFlow.
LIGHT = (
    "tfnas.arch.",
    "tfnas.artifacts.",
    "tfnas.cli.",
    "tfnas.config_files.",
    "tfnas.errors.",
    "tfnas.registry.",
    "tfnas.tflite_packing.",
    "tfnas.tflite_worker.",
    "tfnas.seeds.",
    "tfnas.keras_settings.",
    "tfnas.labels.",
    "tfnas.locks.",
    "tfnas.stopping.",
    "tfnas.feed.",
    "tfnas.ops.",
    "tfnas.lowering.",
    "tfnas.spaces.",
    "tfnas.cost.counting.",
    "tfnas.cost.lut.",
    "tfnas.cost.summaries.",
    "tfnas.text_table.",
    "tfnas.cost.objective.",
    "tfnas.report.",
    "tfnas.results.",
    "tfnas.measuring.",
    "tfnas.whole_run.",
    "tfnas.fields.",
    "tfnas.applications.",
    "tfnas.train.recipe.",
    "tfnas.search.ase_nas_options.",
    "tfnas.search.evaluate.",
    "tfnas.search.guided.",
    "tfnas.search.population.",
    "tfnas.tuning.space.",
    "tfnas.bin.",
    "tflite_bench.",
    "android_bench.",
)


def _modules():
    modules = {}
    for package in ("tfnas", "tflite_bench", "android_bench"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path
    return modules


MODULES = _modules()


def _imports(module):
    """Yields (line, imported module) for every import, however deep."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                # Members of the lazy top package are outside the levels.
                whole = member in MODULES or node.module == "tfnas"
                yield node.lineno, member if whole else node.module


def _part(module):
    """Returns what stands in `LEVELS` for a module: mostly its package."""
    return module if module in LEVEL_OF else ".".join(module.split(".")[:2])


def _may_import(module, imported):
    package, origin = module.split(".")[0], imported.split(".")[0]
    if origin not in ("tfnas", "tflite_bench", "android_bench"):
        return True
    if package != "tfnas":
        borrowed = BORROWS.get(module, BORROWS[package])
        return origin == package or _part(imported) in borrowed
    if _part(module) == "tfnas.bin":
        return True
    part, imported_part = _part(module), _part(imported)
    if origin != "tfnas":
        return part in BRIDGES
    if imported_part not in LEVEL_OF:
        return False
    return part == imported_part or LEVEL_OF[imported_part] < LEVEL_OF[part]


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_lower_levels(module):
    wrong = [
        f"{MODULES[module]}:{line} imports {imported}"
        for line, imported in _imports(module)
        if not _may_import(module, imported)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "module, imported",
    [
        ("tfnas.errors", "tfnas.artifacts"),
        ("tfnas.ops.conv", "tfnas.spaces.base"),
        ("tfnas.spaces", "tfnas.cost.lut"),
        ("tfnas.spaces", "tfnas"),
        ("tfnas.spaces", "tfnas.Arch"),
        ("tfnas.report.html", "tfnas.search"),
        ("tfnas.search.runner", "tflite_bench.stats"),
        ("tflite_bench.stats", "tfnas.ops"),
        ("tflite_bench.writer", "tfnas.spaces"),
        ("android_bench.device", "tflite_bench.host"),
    ],
)
def test_these_imports_would_be_refused(module, imported):
    assert not _may_import(module, imported)


def _circles(graph):
    """Returns the sets of nodes that lead back to each other."""
    reached = {}
    for start in graph:
        seen, left = set(), [start]
        while left:
            left += (new := graph[left.pop()] - seen)
            seen |= new
        reached[start] = seen
    return {
        frozenset(n for n in reached[node] if node in reached[n])
        for node in graph if node in reached[node]
    }


def test_no_imports_go_round_in_a_circle():
    """Imports inside functions and for type checkers count as well.

    What a registry names by its path is not imported by the registry.
    """
    graph = {
        module: {name for _, name in _imports(module)} & {*MODULES}
        for module in MODULES
    }
    assert _circles(graph) == set()


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert _circles(graph) == {frozenset("bc"), frozenset("e")}


def test_tf_keras_stays_in_one_module():
    legacy = ("tf_keras", "tensorflow_model_optimization")
    users = {
        module
        for module in MODULES
        for _, imported in _imports(module)
        if imported.split(".")[0] in legacy
    }
    assert users <= {"tfnas.export.qat"}


def test_light_modules_start_without_tensorflow():
    light = [module for module in MODULES if f"{module}.".startswith(LIGHT)]
    script = (
        "import importlib, sys\n"
        "from absl import flags\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        # Two programs may have a flag of one name; they share no process.
        "    for flag in list(flags.FLAGS):\n"
        "        delattr(flags.FLAGS, flag)\n"
        "    for heavy in ('tensorflow', 'keras', 'tf_keras'):\n"
        "        assert heavy not in sys.modules, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *light],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_files_stay_readable_in_one_go():
    folders = ["tfnas", "tflite_bench", "android_bench", "configs", "tests"]
    folders += ["benchmarks", "examples"]
    too_long = {
        str(path): lines
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not too_long
