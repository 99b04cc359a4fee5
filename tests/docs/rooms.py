"""`python -m tests.docs.rooms`: count rooms, floors, circles and lines of the two packages, and draw docs/rooms.svg.

In: the imports of `service` and `training`, as import-linter's graph has them. A room is a package or a module at the
top; a room's floor is one above the highest room that it imports; a circle is a set of rooms that import each other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "rooms.svg"
# The rooms that each journey enters, in this order.
BATCH = ("data", "network", "loop", "evaluation", "export")
UPLOAD = ("connection", "drivers", "api", "picture", "inference", "model")
WIDE, HIGH, GAP, TOP = 116, 34, 12, 56


def rooms(package: str) -> dict[str, set[str]]:
    """Return the rooms of a package, each with those that it imports."""
    graph = grimp.build_graph(package, cache_dir=None)
    found: dict[str, set[str]] = {child.split(".")[1]: set() for child in graph.find_children(package)}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            parts = (module.split("."), imported.split("."))
            if all(len(part) > 1 for part in parts) and parts[0][1] != parts[1][1]:
                found[parts[0][1]].add(parts[1][1])
    return found


def circles(house: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of rooms that reach each other."""

    def reached(room: str) -> set[str]:
        seen: set[str] = set()
        line = [room]
        while line:
            line += (new := house[line.pop()] - seen)
            seen |= new
        return seen

    everywhere = {room: reached(room) for room in house}
    found = []
    for room in house:
        circle = {other for other in everywhere[room] if room in everywhere[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def floors(house: dict[str, set[str]]) -> list[list[str]]:
    """Return the rooms of each floor, the ground first; a house with circles has none."""
    below: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in below:
            below[room] = max((floor(other) + 1 for other in house[room]), default=0)
        return below[room]

    for room in house:
        floor(room)
    return [sorted(room for room in below if below[room] == number) for number in range(max(below.values()) + 1)]


def drawn() -> str:
    """Draw both houses, floor by floor, with the journey of an upload and of a training batch."""
    parts, left = [], GAP
    height = TOP + max(len(floors(rooms(package))) for package in ("service", "training")) * (HIGH + GAP) + GAP
    for package, journey in (("service", UPLOAD), ("training", BATCH)):
        levels = floors(rooms(package))
        places: dict[str, tuple[int, int]] = {}
        for number, names in enumerate(levels):
            for column, name in enumerate(names):
                y = height - (number + 1) * (HIGH + GAP)
                places[name] = (left + column * (WIDE + GAP), y)
        parts.append(f'<text x="{left}" y="30" class="title">{package}/</text>')
        for name, (x, y) in places.items():
            kind = "room way" if name in journey else "room"
            parts.append(f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="5" class="{kind}"/>')
            parts.append(f'<text x="{x + WIDE // 2}" y="{y + 22}" class="name">{escape(name)}</text>')
        for number, name in enumerate(journey):
            x, y = places[name]
            parts.append(f'<circle cx="{x + 4}" cy="{y + 4}" r="9" class="step"/>')
            parts.append(f'<text x="{x + 4}" y="{y + 8}" class="number">{number + 1}</text>')
        left += max(map(len, levels)) * (WIDE + GAP) + 3 * GAP
    style = (
        "text{font:13px sans-serif;fill:#1f2933}.title{font-size:18px;font-weight:bold}.name{text-anchor:middle}"
        ".room{fill:#eef2f6;stroke:#9fb3c8}.way{fill:#d9eaf7;stroke:#2b6cb0;stroke-width:2}.step{fill:#2b6cb0}"
        ".number{text-anchor:middle;font-size:11px;fill:#fff}"
    )
    size = f'viewBox="0 0 {left} {height}" width="{left}" height="{height}"'
    background = f'<rect width="{left}" height="{height}" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{style}</style>\n{background}\n'
    return head + "\n".join(parts) + "\n</svg>\n"


def main() -> None:
    """Print the table, and draw."""
    sys.stdout.write(f"{'package':<10}{'rooms':>7}{'floors':>8}{'circles':>9}{'files':>7}{'lines':>8}\n")
    for package in ("service", "training"):
        house, files = rooms(package), list((ROOT / package).rglob("*.py"))
        around = circles(house)
        high = "-" if around else len(floors(house))
        lines = sum(len(file.read_text().splitlines()) for file in files)
        sys.stdout.write(f"{package:<10}{len(house):>7}{high:>8}{len(around):>9}{len(files):>7}{lines:>8}\n")
        for circle in around:
            sys.stdout.write(f"  circle: {', '.join(sorted(circle))}\n")
    PICTURE.write_text(drawn())


if __name__ == "__main__":
    main()
