"""`zimage-syncd health`: prove the cache by using it."""

from __future__ import annotations

import click

from zimage_syncd.cli.options import Command, selecting, selection_of
from zimage_syncd.cli.session import Session
from zimage_syncd.model.health import HealthLevel, HealthOutcome
from zimage_syncd.model.problems import GPU_BUSY


@click.command(cls=Command)
@selecting
@click.option("--level", type=click.Choice([str(level) for level in HealthLevel]), help="How much to do.")
@click.option("--full", is_flag=True, help="1024 px and 9 steps, as the model's authors recommend.")
@click.pass_obj
def health(
    session: Session,
    repo: str | None,
    revision: str | None,
    layout: str | None,
    snapshot: str | None,
    level: str | None,
    *,
    full: bool,
) -> int:
    """Run the probe: check files, load, or generate a picture."""
    from zimage_syncd.report.json_document import report_fields  # noqa: PLC0415 - `--help` need not wait for it
    from zimage_syncd.report.text import report_text  # noqa: PLC0415

    selection = selection_of(repo, revision, layout, snapshot)
    services = session.services()
    session.stop.listen()
    answer = services.health(selection, level=None if level is None else HealthLevel(level), full=full)
    if session.as_json:
        results = [{"snapshot": name, "result": result} for name, result in answer.results]
        session.write_json("health", {**report_fields(answer.report), "results": results})
    else:
        session.write(report_text(answer.report))
        for _, result in answer.results:
            if result.picture:
                session.write(f"picture: {result.picture}")
    if any(result.outcome is HealthOutcome.GPU_BUSY for _, result in answer.results):
        return GPU_BUSY.exit_code
    return answer.report.exit_code
