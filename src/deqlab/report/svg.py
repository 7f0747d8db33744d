"""Make an SVG of matplotlib part of a page.

Matplotlib writes a standalone file. Inside a page its text must take the page's font, its
colours must follow the theme, its ids must not meet those of other charts, and a screen
reader needs a name for it. Colours are drawn as sentinels and become CSS variables here.
"""

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from deqlab.report.arms import NUM_COLOURS

ROLES = ("ink", "muted", "grid", "surface", *(f"c{i}" for i in range(NUM_COLOURS)))
# Colours that nobody would choose, one for each role; lower case, as matplotlib writes them.
SENTINELS = {role: f"#fe{i:02x}fd" for i, role in enumerate(ROLES)}

_VARIABLES = {sentinel: f"var(--{role})" for role, sentinel in SENTINELS.items()}
_SENTINEL = re.compile("|".join(_VARIABLES))
_FONT = re.compile(r"font(-[a-z]+)?:[^;]*;?\s*")
_REFERENCE = re.compile(r"#([\w.-]+)")
# Everything that XML 1.0 cannot hold: expat would refuse the whole chart.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """Replace characters that XML cannot hold by the replacement character."""
    return _FORBIDDEN.sub("\ufffd", text)


def inline(
    svg: str, *, prefix: str, title: str, description: str, tooltips: Mapping[str, str]
) -> str:
    """Turn a standalone SVG file into an element for an HTML page.

    Args:
        svg: What matplotlib wrote, with colours from `SENTINELS`.
        prefix: Unique in the page; all ids start with it.
        title: Name of the picture for a screen reader.
        description: What it shows, in a sentence or two.
        tooltips: Text by group id. A group with such an id gets the text as its tooltip,
            and its id as its class.
    """
    root = ElementTree.fromstring(svg)
    _strip_namespaces(root)
    for parent in list(root.iter()):
        for child in list(parent):
            # The style element would restyle the page; metadata holds dates and addresses.
            if child.tag in ("metadata", "style"):
                parent.remove(child)
    _group(root, tooltips)
    _rename(root, prefix)
    for element in root.iter():
        if "style" in element.attrib:
            style = _SENTINEL.sub(lambda m: _VARIABLES[m[0]], element.attrib["style"])
            element.attrib["style"] = _FONT.sub("", style).strip()
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-desc",
    }
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{prefix}-{tag}"})
        element.text = printable(text)
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="unicode")


def _strip_namespaces(root: ElementTree.Element) -> None:
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: v for key, v in element.attrib.items()}
        # The indentation of the file is a fifth of its size.
        if element.tag != "text":
            element.text = (element.text or "").strip() or None
        element.tail = None


def _group(root: ElementTree.Element, tooltips: Mapping[str, str]) -> None:
    for element in root.iter("g"):
        name = element.attrib.get("id", "")
        if name in tooltips:
            element.attrib = {"class": name}
            tooltip = ElementTree.Element("title")
            tooltip.text = printable(tooltips[name])
            element.insert(0, tooltip)


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Number the ids that something refers to, and drop the others."""
    names: dict[str, str] = {}
    links = ("href", "clip-path")
    for element in root.iter():
        for key in links:
            for old in _REFERENCE.findall(element.attrib.get(key, "")):
                names.setdefault(old, f"{prefix}-{len(names)}")
    for element in root.iter():
        for key in links:
            if key in element.attrib:
                element.attrib[key] = _REFERENCE.sub(
                    lambda m: f"#{names[m[1]]}", element.attrib[key]
                )
        old = element.attrib.pop("id", None)
        if old in names:
            element.attrib["id"] = names[old]
