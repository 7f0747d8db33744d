"""docs/errors.md explains whatever deqlab warns of, and every class of error."""

import ast
import re
from pathlib import Path

import deqlab

ROOT = Path(deqlab.__file__).parent
TEXT = (ROOT.parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")
PAGE = " ".join(TEXT.replace("> ", "").split())
"""Quoted lines in one."""
SOURCES = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for file in sorted(ROOT.rglob("*.py"))
}
CLASS = re.compile(r"^class (\w+)\(.*(?:Error|Warning|Exception)\b.*\):", re.MULTILINE)


def errors():
    return {name for text in SOURCES.values() for name in CLASS.findall(text)}


def spoken():
    """Yield each piece of text that a warning may have, with its place.

    Where a module calls `speak`, its sentences are those of the whole module; else those of the
    function that warns.
    """
    speakers = {name: text for name, text in SOURCES.items() if re.search("speak|warn", text)}
    for name, tree in ((name, ast.parse(text)) for name, text in speakers.items()):
        whole = calls(tree, "speak") or calls(tree, "OffEquilibriumError")
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        speaking = [tree] if whole else [one for one in functions if calls(one, "warnings.warn")]
        nodes = {node for part in speaking for node in ast.walk(part)}
        for node in nodes - left_out(tree) if speaking else ():
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and len(text.split()) >= 4:
                yield f"{name}:{node.lineno}", " ".join(text.split())


def calls(tree, function):
    module, _, name = function.rpartition(".")
    for call in (node.func for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = getattr(call, "attr" if module else "id", None) == name
        if called and (not module or ast.unparse(call.value) == module):
            return True
    return False


def left_out(tree):
    """Docstrings, and what a ValueError says, which is listed as the docs are built."""
    found = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and ast.unparse(node).startswith("raise ValueError"):
            found |= set(ast.walk(node))
    return found


def test_every_class_of_error_is_explained():
    public = {name for name in errors() if not name.startswith("_")}
    assert {name for name in public if f"`{name}`" not in TEXT} == set()


def test_every_sentence_of_a_warning_is_explained():
    assert {place: piece for place, piece in spoken() if piece not in PAGE} == {}


def test_the_sources_are_read():
    assert {"ConvergenceError", "CheckpointError"} <= errors()
    assert len(list(spoken())) > 25
