"""Tests of what is easy to get wrong in silence: memory, comparisons, verdicts, the chart.

`python3 -m unittest measuring.tests`, in benches/; the test suite runs them, and both scripts on a little data.
"""

import os
import pathlib
import sys
import tempfile
import types
import unittest
import xml.etree.ElementTree

from . import chart, process, report
from .bound import FILE_BYTES, write
from .compare import compare_trees
from .data import Sources
from .ground import MEBIBYTE, Failure, retire
from .process import Sample
from .results import REPOSITORY, Bound, Result
from .servers import Rows


class InFolder(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class Running(InFolder):
    def run_python(self, text, reader=None, writer=None):
        return process.measured([sys.executable, "-c", text], dict(os.environ), self.folder, reader, writer)

    def test_memory_and_time_are_those_of_the_process(self):
        sample = self.run_python("import time; held = bytearray(64 << 20); time.sleep(0.3)")
        self.assertGreaterEqual(sample.resident, 64 * MEBIBYTE)
        self.assertGreaterEqual(sample.wall, 0.3)
        if sys.platform == "linux":
            self.assertGreaterEqual(sample.anonymous, 64 * MEBIBYTE)
            self.assertLessEqual(sample.anonymous, sample.resident)

    def test_a_program_that_fails_is_shown_with_what_it_said(self):
        with self.assertRaisesRegex(Failure, "ended with 3:\nno such thing"):
            self.run_python("import sys; print('no such thing', file=sys.stderr); sys.exit(3)")

    def test_output_goes_to_a_reader_that_must_like_it(self):
        expected = self.folder / "expected"
        expected.write_text("bytes")
        self.run_python("print('bytes', end='')", ["cmp", "-", expected])
        with self.assertRaisesRegex(Failure, "something else"):
            self.run_python("print('other', end='')", ["cmp", "-", expected])


    def test_input_comes_from_a_writer_that_must_end_well(self):
        count = "import sys; sys.exit(len(sys.stdin.read()) != 300_000)"
        self.run_python(count, writer=[sys.executable, "-c", "print('x' * 300_000, end='')"])
        with self.assertRaisesRegex(Failure, "ended with 4"):
            self.run_python(count, writer=[sys.executable, "-c", "print('x' * 300_000, end=''); raise SystemExit(4)"])


class Tables(unittest.TestCase):
    def test_rows_are_the_same_for_the_same_seed_and_keys_rise(self):
        rows = Rows(1, 1000)
        lines = [rows.line(number) for number in range(2000)]
        self.assertEqual(lines[7], Rows(1, 1000).line(7))
        self.assertNotEqual(lines[7], Rows(2, 1000).line(7))
        keys = [line.split("\t")[0] for line in lines]
        self.assertEqual(keys, sorted(set(keys)))
        self.assertTrue(all(line.count("\t") == 7 and line.count("\n") == 1 for line in lines))

    def test_a_changed_row_keeps_its_key_and_when_it_was_made(self):
        rows = Rows(1, 1000)
        old, new = rows.line(8).split("\t"), rows.line(8, "night").split("\t")
        self.assertEqual((old[0], old[1], old[3]), (new[0], new[1], new[3]))
        self.assertTrue(old[2] != new[2] and old[5] != new[5] and old[7] != new[7])


class Folders(InFolder):
    def pair(self):
        for side in ("source", "restored"):
            (self.folder / side / "below").mkdir(parents=True)
            for name in ("one", "below/two"):
                path = self.folder / side / name
                path.write_text(name)
                os.utime(path, (1, 1))
            os.utime(self.folder / side / "below", (1, 1))
        return self.folder / "source", self.folder / "restored"

    def compare(self, pair):
        compare_trees(*pair, self.folder / "scratch")

    def test_equal_trees_are_equal(self):
        self.compare(self.pair())

    def test_another_byte_is_found(self):
        pair = self.pair()
        (pair[1] / "below/two").write_text("below/twi")
        os.utime(pair[1] / "below/two", (1, 1))
        with self.assertRaisesRegex(Failure, "another content"):
            self.compare(pair)

    def test_a_missing_folder_is_found(self):
        pair = self.pair()
        (pair[0] / "empty").mkdir()
        with self.assertRaisesRegex(Failure, "empty"):
            self.compare(pair)

    def test_another_time_is_found(self):
        pair = self.pair()
        os.utime(pair[1] / "one", (1, 2))
        with self.assertRaisesRegex(Failure, "mode or time"):
            self.compare(pair)

    def test_what_is_retired_takes_no_room(self):
        source, _ = self.pair()
        (source / "one").chmod(0o400)
        retire(source, self.folder)
        self.assertFalse(source.exists())
        sizes = [path.stat().st_size for path in (self.folder / "spent").rglob("*") if path.is_file()]
        self.assertEqual(sizes, [0, 0])

    def test_the_bound_leaves_nothing_behind(self):
        self.assertGreater(write(self.folder, FILE_BYTES + 1), 0)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_copies_of_sources_equal_no_other_file(self):
        origin = self.folder / "origin"
        origin.mkdir()
        for name in ("one", "two"):
            (origin / name).write_text(f"{name}\n")
        sources = Sources(types.SimpleNamespace(seed=1, sources=origin, source_files=5), self.folder)
        sources.make()
        contents = [path.read_text() for path in sources.folder.rglob("*") if path.is_file()]
        self.assertEqual(len(set(contents)), 5)
        self.assertEqual(sorted(text.split("\n")[-2] for text in contents), ["one", "one", "one", "two", "two"])
        self.assertIn("copied 3 times", sources.facts()[1])


class Reporting(unittest.TestCase):
    def result(self, *names):
        data = types.SimpleNamespace(name="sources", title="Source <files>", steps=Sources.steps,
                                     facts=lambda: ["few"], remarks=lambda _: [])
        found = Result(data, [types.SimpleNamespace(name=name) for name in names])
        for factor, name in enumerate(names, 1):
            found.repositories[name] = [100 * MEBIBYTE]
            found.openings[name] = [0.5]
            for step in data.steps:
                found.samples[name, step] = [Sample(wall * factor, 1.0, MEBIBYTE, 300 * MEBIBYTE)
                                             for wall in (9, 1, 2)]
        found.bounds["restore"] = [Bound(write=0.5, write_bytes=MEBIBYTE)]
        return found

    def test_ratios_are_of_medians_and_judged(self):
        result = self.result("Strongroom", "rustic", "restic")
        self.assertEqual(result.verdict("restore", "wall"), ("≤ 0.4 × restic", True))
        self.assertEqual(result.verdict("unchanged", "wall"), ("≤ 0.2 × restic", False))
        self.assertEqual(result.verdict(REPOSITORY, "size"), ("≤ 1.0 × restic", True))
        self.assertEqual(result.verdict("check", "anonymous"), ("≤ 256 MiB", False))
        self.assertIsNone(result.verdict("check", "wall"))
        text = report.section(result)
        self.assertIn("| restore | wall, s | 2.00 (1.00-9.00) | 4.00 (2.00-18.00) | 6.00 (3.00-27.00) | 0.50 | 0.33 |"
                      " ≤ 0.4 × restic: met |", text)
        self.assertIn("3 of 8 targets met; missed: first backup, peak anonymous memory, MiB; nothing changed, wall, s;",
                      text)

    def test_without_restic_no_ratio_is_judged(self):
        result = self.result("Strongroom")
        self.assertEqual(result.verdict("restore", "wall"), ("≤ 0.4 × restic", None))
        self.assertIn("≤ 0.4 × restic: not measured |", report.section(result))

    def test_the_chart_has_a_bar_for_each_value(self):
        names = ("Strongroom", "restic", "rustic")
        picture = xml.etree.ElementTree.fromstring(chart.draw("A & B", [self.result(*names)]))
        space = "{http://www.w3.org/2000/svg}"
        bars = [bar for bar in picture.iter(f"{space}rect") if bar.get("class").startswith("bar")]
        groups = len(Sources.steps) + 2
        self.assertEqual(len(bars), groups * len(names))
        first = [float(bar.get("width")) for bar in bars[:3]]
        self.assertEqual(first, [80.0, 160.0, 240.0])
        words = [text.text for text in picture.iter(f"{space}text")]
        self.assertTrue({"A & B", "Source <files>", "2.00", "4.00", "6.00"} <= set(words))
        self.assertEqual(len(list(picture.iter(f"{space}line"))), 1)


if __name__ == "__main__":
    unittest.main()
