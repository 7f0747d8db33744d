"""What messages advise exists: options, commands, and names; and what is checked, always is."""

import ast
import re
from pathlib import Path

import torch
import typer
from torch.distributed.tensor import DTensor
from torch.fx import Tracer

import deqlab
from deqlab.cli import app

ROOT = Path(deqlab.__file__).parent
SOURCES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
PAGES = sorted([*ROOT.parents[1].glob("*.md"), *(ROOT.parents[1] / "docs").rglob("*.md")])
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    name: {
        "--help",
        *(
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        ),
    }
    for name, command in COMMANDS.items()
}
KNOWN = {"--version"}.union(*OPTIONS.values())
OF_OTHERS = {"--always", "--dirty", "--abbrev"}
"""Options of git."""
# Words of prose with a capital or a line in them, and names that are not Python's.
NO_NAMES = {
    "DejaVu",
    "RobustNeuralNetworks",
    "LeCun",
    "KiB",
    "MiB",
    "TorchScript",
    "DEQLAB_DATA",
    "fashion_mnist",
    "sigma_a",
    "G_deq",
    "max_new_tokens",  # of Transformers
    "fixed_point_iter",  # of torchdeq
    "simple_fixed_point_iter",
}
INDEX = re.compile(r"[a-z]_[0-9k]")  # s_k in a formula


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def docstrings(tree):
    """Texts that stand as statements: docstrings of all kinds."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def texts(path):
    """The texts of a module that it may show somebody: all but docstrings."""
    tree = parsed(path)
    said = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said:
            yield node.value


def names(tree):
    """Every name of the code itself."""
    for node in ast.walk(tree):
        for field in ("name", "id", "attr", "arg"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


NAMES = {
    name
    for path in SOURCES.values()
    for name in (*names(parsed(path)), *path.with_suffix("").parts)
}
for place in (
    torch,
    DTensor,
    torch.func,
    torch.nn,
    torch.nn.utils,
    torch.autograd,
    torch.fx,
    torch.fx.experimental.proxy_tensor,
    torch._subclasses,
    Tracer,
):
    NAMES |= set(dir(place))


def unknown_options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)) - KNOWN - OF_OTHERS


def unknown_names(text):
    if " " not in text:  # a key, not a sentence
        return set()
    words = re.findall(r"[A-Za-z]\w*", text)
    looks_like_one = re.compile(r"\w+_\w+|[A-Z][a-z]+[A-Z]\w*")
    return (
        {word for word in words if looks_like_one.fullmatch(word) and not INDEX.fullmatch(word)}
        - NAMES
        - NO_NAMES
    )


def found(search):
    """What `search` finds in the texts of each module, where it finds anything."""
    every = {name: set().union(*map(search, texts(path))) for name, path in SOURCES.items()}
    return {name: of for name, of in every.items() if of}


def test_an_option_that_a_message_names_exists():
    assert found(unknown_options) == {}


def test_a_name_that_a_message_names_exists():
    assert found(unknown_names) == {}


def test_these_tests_see_an_option_and_a_name_that_do_not_exist():
    assert unknown_options("use --force, or --out") == {"--force"}
    assert unknown_names("raise max_products, or take a SpectralNom") == {"SpectralNom"} | (
        {"max_products"} - NAMES
    )
    assert unknown_names("see stability.spectral_radious") == {"spectral_radious"}
    assert {"--out", "--set", "--seeds", "--jobs", "--sigma-a2", "--fetch"} < KNOWN


def typed(text):
    """Commands between backticks, or on lines of a fenced block, and what follows each."""
    blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL))
    for found in (re.findall(r"`deqlab ([a-z]+)([^`\n]*)`", text), re.findall(LINE, blocks)):
        yield from found


LINE = re.compile(r"^ *\$? *deqlab ([a-z]+)([^\n#]*)", flags=re.MULTILINE)


def test_a_command_that_somebody_is_told_to_type_exists():
    count = 0
    pages = [path.read_text(encoding="utf-8") for path in PAGES]
    for text in [*pages, *(text for path in SOURCES.values() for text in texts(path))]:
        for command, rest in typed(text):
            count += 1
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", rest))
            assert options <= OPTIONS[command], f"deqlab {command} {rest}"
    assert count > 20


def narrows_a_type(test):
    """Whether a condition only tells the type checker what cannot be otherwise."""
    if isinstance(test, ast.Call):
        return getattr(test.func, "id", None) == "isinstance"
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot)


def test_what_must_be_checked_is_checked_under_python_o():
    for name, path in SOURCES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Assert):
                assert narrows_a_type(node.test), f"{name}, line {node.lineno}: raise an error"
