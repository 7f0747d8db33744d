"""Static types as a user's mypy sees them: of the code in README and docs, and of typed code.

mypy is in the extra `lint`, which `make test-slow` installs as well.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deqlab

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Blocks that need a package of other people, and speak of a program of theirs.
NOT_RUN = re.compile(r"^<!-- skip: next -->\n```python\n.*?^```", re.DOTALL | re.MULTILINE)

TYPED = """
from typing import Any, assert_type

import torch
from torch import Tensor, nn

from deqlab import DEQ, Anderson, Picard, Solution, fixed_point
from deqlab.nn import Cell, Prepared, DenseCell, MonotoneCell, MultiscaleCell

x = torch.zeros(4, 3)
assert_type(fixed_point(lambda z, x: torch.cos(z) / 2 + x, x, x), Solution[Tensor])
assert_type(fixed_point(lambda z: (z[1], z[0]), (x, x)).value, tuple[Tensor, Tensor])
assert_type(fixed_point(lambda z: {"a": z["a"] / 2}, {"a": x}).value, dict[str, Tensor])
assert_type(DEQ(DenseCell(3, 4))(x), Tensor)
assert_type(DEQ(MonotoneCell(3, 4)).solve(x), Solution[Tensor])
assert_type(DEQ(MultiscaleCell(3, [4, 8]))(x), tuple[Tensor, ...])
assert_type(DEQ(DenseCell(3, 4)).last, Solution[None] | None)
assert_type(DenseCell(3, 4)(x, x), Tensor)
assert_type(Anderson(rtol=1e-3), Anderson)


class Plain(nn.Module):
    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return z / 2 + x


class Pair(nn.Module):
    def forward(self, z: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        return z[1] / 2 + x, z[0] / 2


class Named(Cell[dict[str, Tensor]]):
    def initial(self, x: Tensor, *, y: Tensor) -> dict[str, Tensor]:
        return {"x": x, "y": y}

    def prepare(self, x: Tensor, *, y: Tensor) -> Prepared:
        return Prepared(rows=(x, y))

    def update(self, z: dict[str, Tensor], shared: Any, rows: Any) -> dict[str, Tensor]:
        return z


assert_type(DEQ(Plain())(x, z0=x), Tensor)
pair: DEQ[tuple[Tensor, Tensor]] = DEQ(Pair())
assert_type(pair(x, z0=(x, x)), tuple[Tensor, Tensor])
assert_type(DEQ(Named(), solver=Picard()).solve(x, y=x).value, dict[str, Tensor])


def worst(solution: Solution) -> float:
    assert_type(solution.value, Tensor)
    return float(solution.residual.max())
"""

WRONG = """
import torch

from deqlab import DEQ, Anderson, Implicit, fixed_point
from deqlab.nn import DenseCell

fixed_point(lambda z: z, torch.zeros(1, 1), solver="anderson")
DEQ(DenseCell(3, 4), solver=Anderson)
DEQ(DenseCell(3, 4), gradient="implicit")
Anderson(tol=1e-3)
DEQ(DenseCell(3, 4))(torch.zeros(1, 3)).nothing
fixed_point(lambda z: z, (torch.zeros(1, 1),)).value.shape
DEQ(DenseCell(3, 4)).last.residual
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What mypy found out about torch, which takes most of its time."""
    return tmp_path_factory.mktemp("mypy")


def errors(folder, cache, files, *options):
    """The errors that mypy finds in files of code, by file and line."""
    pytest.importorskip("mypy")
    for name, code in files.items():
        (folder / name).write_text(code, encoding="utf-8")
    settings = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, f"--cache-dir={cache}", *options, *files],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(Path(deqlab.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr or done.stdout
    found = re.findall(r"^(\S+?):(\d+): error: ", done.stdout, re.MULTILINE)
    return [(file, int(line)) for file, line in found]


@pytest.mark.slow
def test_the_code_of_readme_and_docs(tmp_path, cache):
    files = {
        f"{page.stem.lower().replace('-', '_')}.py": "\n".join(blocks)
        for page in PAGES
        if (blocks := BLOCK.findall(NOT_RUN.sub("", page.read_text(encoding="utf-8"))))
    }
    assert {"readme.py", "index.py"} <= files.keys()
    # Blocks of a page use names again. And torch declares x.grad to be None or a tensor: pages
    # read it after a backward pass, and gradient_error as well.
    options = ("--check-untyped-defs", "--allow-redefinition", "--no-strict-optional")
    assert errors(tmp_path, cache, files, *options) == []


@pytest.mark.slow
def test_typed_code_and_its_mistakes(tmp_path, cache):
    found = errors(tmp_path, cache, {"typed.py": TYPED, "wrong.py": WRONG}, "--strict")
    wrong = [number for number, line in enumerate(WRONG.splitlines(), 1) if "(" in line]
    assert found == [("wrong.py", number) for number in wrong]
