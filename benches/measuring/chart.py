"""Draws the comparison as an SVG: bars grouped by step, one column for each data set.

Each group has its own scale, which starts at zero: the steps take from a tenth of a second to many seconds. The
picture brings its own background and follows the reader's choice of light or dark.
"""

import dataclasses
import statistics
import xml.sax.saxutils

from .results import REPOSITORY

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
  .title { font-size: 18px; font-weight: 600; }
  .column { font-size: 15px; font-weight: 600; }
  .group { font-weight: 600; }
  .quiet { fill: #57606a; font-size: 12px; }
  .name { text-anchor: end; }
  .ground { fill: #ffffff; }
  .bar0 { fill: #0969da; }
  .bar1 { fill: #8c959f; }
  .bar2 { fill: #bf8700; }
  .bound { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 3 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .ground { fill: #0d1117; }
    .bar0 { fill: #4493f8; }
    .bar1 { fill: #7d8590; }
    .bar2 { fill: #d29922; }
    .bound { stroke: #e6edf3; }
  }
"""
COLUMN, NAMES, BAR, HEIGHT, GAP, MARGIN, TOP = 430, 84, 240, 16, 5, 20, 84


@dataclasses.dataclass
class Group:
    """The bars of one step: a value for each program, and perhaps what the disk alone takes."""

    title: str
    form: str
    values: dict
    bound: float | None = None


def draw(title, results):
    """The whole picture as text; `results` has one entry for each column."""
    columns = [groups(result) for result in results]
    height = TOP + max(sum(block(group) for group in column) for column in columns) + MARGIN
    width = 2 * MARGIN + COLUMN * len(columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img">',
        f"<title>{escaped(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{width}" height="{height}" rx="8"/>',
        text(MARGIN, 32, title, "title"),
        text(MARGIN, 52, note(columns), "quiet"),
    ]
    for number, (result, column) in enumerate(zip(results, columns)):
        left, top = MARGIN + number * COLUMN, TOP
        parts.append(text(left, top - 6, result.data.title, "column"))
        for group in column:
            parts += drawn(group, left, top)
            top += block(group)
    return "\n".join([*parts, "</svg>"]) + "\n"


def note(columns):
    bound = any(group.bound for column in columns for group in column)
    return "Shorter is better; each group has its own scale." + (" Dashed: the disk alone." if bound else "")


def groups(result):
    """What is shown of a data set: the time of each step, what a night adds, repository and memory."""
    found = []
    for step, title in result.data.steps.items():
        found.append(Group(f"{title}, s", "{:.2f}", medians(result, step, "wall"), bound_of(result.bounds[step])))
        if step == "night":
            found.append(Group(f"{title}: added, MiB", "{:,.1f}", medians(result, step, "added")))
    found.append(Group("repository at the end, MiB", "{:,.1f}", medians(result, REPOSITORY, "size")))
    largest = {name: result.largest(name, "anonymous") for name in result.names}
    found.append(Group("largest anonymous memory of any step, MiB", "{:,.0f}", largest))
    return [group for group in found if all(value is not None for value in group.values.values())]


def medians(result, step, measure):
    return {name: result.median(name, step, measure) for name in result.names}


def bound_of(found):
    """Reading and writing can go on at once, so the longer of the two is what nobody can go below."""
    return statistics.median(max(bound.read, bound.write) for bound in found) if found else None


def block(group):
    """How high a group is, with its title and the space after it."""
    return 24 + len(group.values) * (HEIGHT + GAP) + 12


def drawn(group, left, top):
    """A group's title, bars, names, values, and the line of the disk alone."""
    most = max([*group.values.values(), group.bound or 0]) or 1
    parts = [text(left, top + 16, group.title, "group")]
    first = top + 24
    for number, (name, value) in enumerate(group.values.items()):
        y, length = first + number * (HEIGHT + GAP), BAR * value / most
        parts.append(text(left + NAMES - 8, y + 13, name, "name"))
        parts.append(f'<rect class="bar{number}" x="{left + NAMES}" y="{y}" width="{max(length, 1):.1f}"'
                     f' height="{HEIGHT}" rx="2"/>')
        parts.append(text(left + NAMES + length + 8, y + 13, group.form.format(value)))
    if group.bound:
        x, end = left + NAMES + BAR * group.bound / most, first + len(group.values) * (HEIGHT + GAP) - GAP + 2
        parts.append(f'<line class="bound" x1="{x:.1f}" x2="{x:.1f}" y1="{first - 2}" y2="{end}"/>')
    return parts


def text(x, y, words, kind=None):
    chosen = f' class="{kind}"' if kind else ""
    return f'<text{chosen} x="{x:.1f}" y="{y}">{escaped(words)}</text>'


def escaped(words):
    return xml.sax.saxutils.escape(words)
