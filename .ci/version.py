"""Refuse a release whose tag, version, citation and changelog do not name the same version.

python .ci/version.py v0.2.0
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACES = {
    "src/deqlab/version.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## (?:\[)?(\d[\w.]*)",
}


def versions() -> dict[str, str]:
    """Return the version that each place names, the latest in the changelog."""
    found = {}
    for place, pattern in PLACES.items():
        match = re.search(pattern, (ROOT / place).read_text(encoding="utf-8"), re.MULTILINE)
        found[place] = match[1] if match else "none"
    return found


def main(tag: str) -> None:
    """End with a sentence unless all agree with the tag."""
    wrong = [f"{place} says {said}" for place, said in versions().items() if f"v{said}" != tag]
    if wrong:
        sys.exit(f"the tag is {tag}, but {', '.join(wrong)}: name one version everywhere")


if __name__ == "__main__":
    main(sys.argv[1])
