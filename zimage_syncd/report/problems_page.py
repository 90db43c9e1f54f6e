"""docs/problems.md out of the catalogue: `python -m zimage_syncd.report.problems_page > docs/problems.md`."""

from __future__ import annotations

import sys

from zimage_syncd.model.problems import CATALOGUE


def problems_page() -> str:
    """The page as Markdown."""
    lines = [
        "# Problems",
        "",
        "Everything that can be wrong, with what to do. Generated from `zimage_syncd/model/problems.py`.",
        "Exit code: what a command ends with when this stops it; a finding that stops nothing gives 2, a note 0.",
        "",
        "| code | what | severity | exit code | what to do |",
        "| --- | --- | --- | --- | --- |",
    ]
    for problem in sorted(CATALOGUE.values(), key=lambda each: each.code):
        remedy = problem.remedy.replace("|", "\\|")
        lines.append(f"| {problem.code} | {problem.title} | {problem.severity} | {problem.exit_code} | {remedy} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(problems_page())
