"""What stands under MODULE:NAME and what packages register: found, or refused in one sentence."""

import sys
from dataclasses import dataclass

import pytest

from deqlab.own.registry import OwnCodeWarning, Registry
from deqlab.own.target import OwnCodeError, is_target, named


@dataclass(frozen=True)
class Thing:
    name: str


OURS = {"round": Thing("round"), "square": Thing("square")}
GROUP = "deqlab.test-things"
MINE = """
from tests.own.test_registry import OURS, Thing

FLAT = Thing("flat")
ROUND = Thing("round")
SAME = OURS["round"]
PATH = Thing("../flat")
OTHER = object()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with modules, in which the command runs; it is not on the path yet."""
    (tmp_path / "mine_here.py").write_text(MINE)
    (tmp_path / "raises_here.py").write_text("x = 1\ny = x / 0\n")
    (tmp_path / "leaves_here.py").write_text("import sys\nsys.exit('bye\\nsecond line')\n")
    (tmp_path / "broken_here.py").write_text("def (\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith("_here"):
            del sys.modules[name]


def package(folder, name, *points):
    """Install a package that registers, as pip leaves it."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points]) + "\n")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def registry():
    return Registry(Thing, OURS, group=GROUP, what="thing", placed=lambda thing, place: thing)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("mine_here:FLATT", "mine_here has no 'FLATT'; did you mean 'FLAT'\\?$"),
        ("nowhere_here:X", "nowhere_here could not be imported: ModuleNotFoundError: No module"),
        ("raises_here:X", r"ZeroDivisionError: division by zero \(raises_here.py, line 2\)$"),
        ("leaves_here:X", r"SystemExit: bye \(leaves_here.py, line 2\)$"),
        ("broken_here:X", "broken_here could not be imported: SyntaxError: invalid syntax"),
        ("mine_here.py:FLAT", "cd to its folder, and say mine_here:FLAT$"),
        ("mine_here:", "a target is MODULE:NAME, such as model:make, got 'mine_here:'$"),
        ("mine_here:FLAT()", "a target is MODULE:NAME"),
        ("mine_here:OTHER", "mine_here:OTHER is of type object, and things are instances of Thing"),
        ("mine_here:ROUND", "calls itself 'round', which is the name of one of deqlab: rename it$"),
        ("mine_here:PATH", "calls itself '../flat': a name has letters"),
    ],
)
def test_what_is_not_to_be_had_is_one_sentence(folder, target, sentence):
    with pytest.raises(OwnCodeError, match=sentence) as caught:
        registry().find(target)
    assert "\n" not in str(caught.value)


def test_a_module_is_found_in_the_folder_and_can_import_from_it_later(folder):
    (folder / "later_here.py").write_text("VALUE = 7\n")
    (folder / "lazy_here.py").write_text(
        "def value():\n    import later_here as m\n    return m.VALUE\n"
    )
    assert registry().find("mine_here:FLAT") == Thing("flat")
    assert registry().find("mine_here:SAME") is OURS["round"]
    assert named("lazy_here:value")() == 7
    assert is_target("a.b:C.d")
    assert not any(map(is_target, ("mnist", "a:", ":b", "a b:c", "a/b:c", "C:\\x", "openml:31")))


def test_registered_ones_are_found_and_nothing_is_imported_before(folder):
    package(folder, "good", "flat = mine_here:FLAT", "bad = raises_here:X")
    found = registry()
    assert found.names() == ["round", "square", "bad", "flat"]
    assert found.knows("flat")
    assert not found.knows("flatt")
    assert "mine_here" not in sys.modules
    assert found.find("flat") == Thing("flat")
    with pytest.raises(OwnCodeError, match="no thing named 'flatt'; did you mean 'flat'"):
        found.find("flatt")


def test_what_cannot_be_had_takes_nothing_else_away(folder):
    package(folder, "good", "flat = mine_here:FLAT", "twice = mine_here:FLAT")
    package(folder, "bad", "broken = raises_here:X", "round = mine_here:ROUND", "twice = a:B")
    found = list(registry().registered())
    assert [each for each in found if isinstance(each, Thing)] == [Thing("flat")]
    said = [str(each) for each in found if isinstance(each, OwnCodeError)]
    assert len(said) == 3
    assert any("both register the thing 'twice': say which by MODULE:NAME" in each for each in said)
    assert any("registers the thing 'round', which is one of deqlab's" in each for each in said)
    assert any(
        "the thing 'broken' of bad cannot be had: raises_here could" in each for each in said
    )
    with pytest.warns(OwnCodeWarning, match="bad registers the thing 'round'"):
        assert registry().find("round") is OURS["round"]
    with pytest.raises(OwnCodeError, match="both register the thing 'twice'"):
        registry().find("twice")


def test_an_entry_point_has_the_name_of_what_it_registers(folder):
    package(folder, "good", "even = mine_here:FLAT")
    with pytest.raises(OwnCodeError, match="registers the thing 'even', which calls itself 'flat'"):
        registry().find("even")
