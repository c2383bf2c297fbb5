"""The report of a comparison, in Markdown."""

import datetime
import statistics

from .ground import heading, machine, mib, row
from .process import INTERVAL_MILLISECONDS
from .results import REPOSITORY


def opening(wanted, programs, missing):
    """What was compared, on what machine, and how."""
    cache = "emptied before each step" if wanted.cold else "holding what each step reads"
    lines = [
        f"# Side by side, {datetime.date.today().isoformat()}",
        "",
        f"- Programs: {'; '.join([program.version() for program in programs] + missing)}",
        f"- Machine: {machine()}",
        f"- Rounds: {wanted.rounds}; seed {wanted.seed}; page cache {cache}",
        "",
        "Median of the rounds, with the least and the most. Targets are for the median. Anonymous memory is what a"
        f" process holds without mapped files, looked up every {INTERVAL_MILLISECONDS} ms; resident memory counts the"
        " pages of mapped files too.",
    ]
    return "\n".join(lines) + "\n"


def section(result):
    """One data set: what it is, the table, what the disk alone takes, and how many targets are met."""
    lines = ["", f"## {result.data.title}", ""]
    lines += [f"- {fact}" for fact in result.data.facts()]
    lines += ["", *table(result), "", *bounds(result), ""]
    opened = [f"{name} {spread(values, '{:.2f}')}" for name, values in result.openings.items()]
    lines.append(f"- Opening the repository and listing its snapshots, part of every step, in s: {', '.join(opened)}")
    lines += [f"- {remark}" for remark in result.data.remarks(result.added)]
    lines.append(f"- {summary(result)}")
    return "\n".join(lines) + "\n"


def table(result):
    ours, *others = result.names
    lines = heading(["step", "measure", *result.names, *[f"/ {name}" for name in others], "target"], 2)
    for step, measure, title, form in result.rows():
        lists = [result.values(name, step, measure) for name in result.names]
        medians = [result.median(name, step, measure) for name in result.names]
        cells = ["repository at the end" if step == REPOSITORY else result.data.steps[step], title]
        cells += [spread(values, form) for values in lists]
        cells += [f"{medians[0] / median:.2f}" if median and medians[0] is not None else "-" for median in medians[1:]]
        lines.append(row([*cells, verdict(result.verdict(step, measure))]))
    return lines


def spread(values, form):
    if not values:
        return "not known"
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}-{form.format(max(values))})"


def verdict(found):
    if not found:
        return ""
    text, met = found
    return f"{text}: {'not measured' if met is None else 'met' if met else '**missed**'}"


def bounds(result):
    """What any program must pay, as a table: the same bytes read and written in this run, and nothing else done."""
    lines = heading(["what any program must pay", "reads", "s", "writes", "s"], 1)
    for step, found in result.bounds.items():
        if not found:
            continue
        cells = [result.data.steps[step]]
        for kind in ("read", "write"):
            count = statistics.median(getattr(bound, f"{kind}_bytes") for bound in found)
            seconds = [getattr(bound, kind) for bound in found]
            cells += [mib(count), spread(seconds, "{:.2f}")] if count else ["-", "-"]
        lines.append(row(cells))
    return lines + ["", "Reading is `cat` over every file; writing is files of 32 MiB of random bytes, each synced. A"
                    " step that does both can do them at the same time."]


def summary(result):
    found = [result.verdict(step, measure) for step, measure, _, _ in result.rows()]
    judged = [met for _, met in filter(None, found) if met is not None]
    missed = [f"{result.data.steps.get(step, step)}, {title}" for step, measure, title, _ in result.rows()
              if (result.verdict(step, measure) or (None, None))[1] is False]
    text = f"{sum(judged)} of {len(judged)} targets met"
    return f"{text}; missed: {'; '.join(missed)}" if missed else text
