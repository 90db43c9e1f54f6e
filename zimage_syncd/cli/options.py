"""Options that several commands share, and the three that every command takes before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from zimage_syncd.cli.session import Session
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import LayoutName, RepoId

Function = TypeVar("Function", bound=Callable[..., Any])


class Command(click.Command):
    """A command that also takes --config, --json and -v after its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's own arguments
        super().__init__(*args, **kwargs)
        self.params.extend(common_options())

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - whatever the command returns
        """Takes the common options out before the command is called."""
        take_common(ctx)
        return super().invoke(ctx)


def common_options() -> list[click.Parameter]:
    """--config, --json and -v."""
    return [
        click.Option(["--config", "config"], metavar="FILE", help="The configuration file."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
        click.Option(["-v", "--verbose", "verbose"], is_flag=True, help="More details."),
    ]


def take_common(ctx: click.Context) -> None:
    """Moves the common options from a context's parameters into the session."""
    session = ctx.ensure_object(Session)
    config, as_json, verbose = (ctx.params.pop(name, None) for name in ("config", "as_json", "verbose"))
    if config == "":
        raise click.BadParameter("it is empty; is a variable not set?", ctx, param_hint="--config")
    session.config = config or session.config
    session.as_json = bool(as_json) or session.as_json
    session.verbose = bool(verbose) or session.verbose


def not_empty(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuses an empty value: of `--to "$DIR"` without DIR nothing would be left but the working directory."""
    if value == "":
        raise click.BadParameter("it is empty; is a variable not set?")
    return value


def selecting(function: Function, *, repo_required: bool = False) -> Function:
    """Adds [REPO] (or REPO), --revision, --layout and --snapshot."""
    layouts = click.Choice([str(name) for name in LayoutName])
    for add in (
        click.option("--snapshot", metavar="ID", help="A snapshot's id, or its first 8 and more characters."),
        click.option("--layout", type=layouts, help="One layout only."),
        click.option("--revision", metavar="R", callback=not_empty, help="A branch, tag or commit."),
        click.argument("repo", required=repo_required),
    ):
        function = add(function)
    return function


def selection_of(repo: str | None, revision: str | None, layout: str | None, snapshot: str | None) -> Selection:
    """What a person named.

    Raises:
        UsageInvalid: it cannot be a repository.
        click.UsageError: the id is too short.
    """
    if snapshot is not None and len(snapshot) < 8:
        raise click.UsageError("--snapshot takes at least 8 characters of the id")
    return Selection(
        repo=None if repo is None else RepoId.parse(repo),
        revision=revision,
        layout=None if layout is None else LayoutName(layout),
        snapshot_id=None if snapshot is None else snapshot.lower(),
    )
