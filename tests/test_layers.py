"""Imports point down: a layer may import itself and what stands above it in the list.

All import statements count, those inside functions and under TYPE_CHECKING as well.
"""

import ast
from pathlib import Path

import pytest

import deqlab

LAYERS = [
    {"containers"},
    {
        "version",
        "moved",
        "costs",
        "intervals",
        "linalg",
        "arguments",
        "tracing",
        "graph_break",
        "named_parts",
        "own",
    },
    {"residual_plot"},
    {"state", "runs"},
    {"solution", "workers"},
    {"errors"},
    {"failures"},
    {"maps"},
    {"solvers"},
    {"gradients"},
    {"compiled", "solving"},
    {"transformed"},
    {"solve", "activations"},
    {"stability"},
    {"nn", "kernels", "tasks"},
    {"training", "control"},
    {"integrations", "estimators", "diagnosis", "compat"},
    {"expressivity", "bias", "inputs"},
    {"experiments"},
    {"recipes"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Reads files only, so that a report can be rebuilt without torch.
ALONE, ALONE_MAY_IMPORT = "report", {"report", "runs", "version"}
MAY_IMPORT_ALONE = {"report", "diagnosis", "cli"}

# Stricter than their rank.
MAY_IMPORT = {
    "runs": {"version"},
    "activations": {"errors"},
    "kernels": {
        "activations",
        "errors",
        "failures",
        "gradients",
        "solvers",
        "solve",
        "state",
        "solution",
    },
}

ROOT = Path(deqlab.__file__).parent


def modules():
    """Every module but the package's own __init__, by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(("deqlab", *(parts[:-1] if parts[-1] == "__init__" else parts)))
        if name != "deqlab":
            found[name] = path
    return found


MODULES = modules()


def imports(path, *, inside_functions=True):
    """The modules that a file names in its import statements, as absolute dotted names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not inside_functions:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # `from deqlab.x import y` imports the module deqlab.x.y if there is one.
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            yield from submodules
            if len(submodules) < len(node.names):
                yield node.module


def layer(module):
    return module.split(".")[1]


def ours(module):
    """The layers of deqlab that `module` imports."""
    for name in imports(MODULES[module]):
        if name.startswith("deqlab.") and layer(name) != "__version__":
            yield layer(name)


def test_every_module_has_its_layer():
    assert {layer(module) for module in MODULES} <= {*RANK, ALONE}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    here = layer(module)
    for there in ours(module):
        where = f"{module} imports deqlab.{there}"
        if here == ALONE:
            assert there in ALONE_MAY_IMPORT, where
        elif there == ALONE:
            assert here in MAY_IMPORT_ALONE, where
        elif there != here:
            assert there in MAY_IMPORT.get(here, RANK), where
            assert RANK[there] < RANK[here], where


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_asks_the_package_itself(module):
    # `from deqlab import X` would run through every layer at once.
    for name in imports(MODULES[module]):
        assert name != "deqlab", f"{module} imports from deqlab, not from where the name lives"


PACKAGES = {module for module, path in MODULES.items() if path.name == "__init__.py"}
# These hold what they define, and pass nothing on.
DEFINE = {"deqlab.experiments", "deqlab.recipes", "deqlab.tasks.files.sets"}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - PACKAGES))
def test_a_name_is_imported_from_the_module_that_defines_it(module):
    """Packages export names for users; inside, that would run through all that they export."""
    named = set(imports(MODULES[module])) & (PACKAGES - DEFINE)
    program = module.endswith("__main__")
    assert not named or program, f"{module} imports names of {named}"


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) in (ALONE, "runs")])
def test_the_report_needs_no_torch(module):
    for name in imports(MODULES[module]):
        assert name.split(".")[0] not in {"torch", "jaxtyping"}, f"{module} imports {name}"


def test_there_is_no_cycle_among_modules():
    # A package imports what its __init__ names, and importing a module runs its package first;
    # that last edge is left out, or every package would be a cycle.
    graph = {
        module: {name for name in imports(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    done, path = set(), []

    def visit(module):
        assert module not in path, "import cycle: " + " -> ".join(
            [*path[path.index(module) :], module]
        )
        if module in done:
            return
        path.append(module)
        for other in sorted(graph[module]):
            visit(other)
        path.pop()
        done.add(module)

    for module in graph:
        visit(module)


def test_no_experiment_imports_another():
    # The registry does, and the command that asks one of them about other data.
    may = {
        "deqlab.experiments",
        "deqlab.cli.kernel",
        "deqlab.experiments.kernels.kernel_answer",
    }
    experiments = {
        module
        for module, path in MODULES.items()
        if any(
            line.startswith(("EXPERIMENT ", "EXPERIMENTS "))
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    } - {"deqlab.experiments"}
    assert len(experiments) >= 15
    importers = {m for m, path in MODULES.items() if experiments & set(imports(path))}
    assert importers <= may
