"""The page "bring your own": its blocks are one module, and its commands run in order."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
MODULE = "\n\n".join(re.findall(r"```python\n# mine\.py\n(.*?)```", PAGE, flags=re.DOTALL))
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.split("\n")
]


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_a_fresh_folder(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    commands = [shlex.split(line)[1:] for line in COMMANDS if line]
    assert len(commands) == 8
    for words in commands:
        done = subprocess.run(
            [sys.executable, "-m", "deqlab", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, (words, done.stderr)
    (weights,) = re.findall(r'trained\("(.*?)"', PAGE)
    code = f"from deqlab.recipes import trained; trained({weights!r}, own=['mine:RECIPE'])"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
