"""`zimage-syncd`: the commands, and what becomes of their failures."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import click

import zimage_syncd
from zimage_syncd.cli import (
    adopt,
    backup,
    demo,
    env,
    health,
    install,
    path,
    restore,
    run_daemon,
    snapshots,
    status,
    uninstall,
    verify,
)
from zimage_syncd.cli.options import common_options, take_common
from zimage_syncd.cli.session import Session, drop_output
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, OutputLost, UsageInvalid, foreseen
from zimage_syncd.model.problems import Problem
from zimage_syncd.report.words import plain

_EPILOG = (
    "REPO is ORG/NAME, datasets/ORG/NAME or spaces/ORG/NAME. Exit codes: 0 good; 1 failed or refused; 2 finished with "
    "problems found; 3 usage or configuration; 75 busy, try again."
)


@click.group(
    params=common_options(),
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
)
@click.version_option(zimage_syncd.__version__, prog_name="zimage-syncd")
@click.pass_context
def app(ctx: click.Context, /, **_common: object) -> None:
    """Keeps the Hugging Face and ModelScope caches of a rented GPU instance alive over disk resets."""
    take_common(ctx)
    if ctx.invoked_subcommand is None:
        _refuse_no_command(ctx)


def _refuse_no_command(ctx: click.Context) -> None:
    """Nothing was asked for: people get the help, programs an error document."""
    if ctx.ensure_object(Session).as_json:
        raise click.UsageError("Missing command.", ctx)
    click.echo(ctx.get_help(), err=True)
    ctx.exit(problems.USAGE.exit_code)


for _command in (
    run_daemon.run,
    status.status,
    snapshots.snapshots,
    backup.backup,
    restore.restore,
    verify.verify,
    health.health,
    path.path,
    env.env,
    adopt.adopt,
    install.install,
    uninstall.uninstall,
    demo.demo,
):
    app.add_command(_command)


def run(arguments: Sequence[str], new_session: Callable[..., Session] = Session) -> int:
    """Runs the command line; returns the exit code.

    Args:
        arguments: without the program's name.
        new_session: makes the session of this run; takes `as_json` and `verbose`.
    """
    if sys.stderr is None:  # `2>&-`
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    try:
        return _run(arguments, new_session)
    except BrokenPipeError:
        # Whoever read our output, or the message about a failure, has gone: nothing is left to say, not even at exit.
        drop_output()
        return 1
    except OutputLost as failure:
        # Not as JSON: there is nowhere to write it to.
        _say(failure.problem, failure.subject, failure.detail)
        return failure.problem.exit_code


def _run(arguments: Sequence[str], new_session: Callable[..., Session]) -> int:
    session = new_session(as_json="--json" in arguments, verbose="-v" in arguments or "--verbose" in arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character gets its escape, not a failure of the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app.main(list(arguments), prog_name="zimage-syncd", standalone_mode=False, obj=session)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return _fail(session, problems.USAGE, _usage_subject(error), error.format_message())
    except UsageInvalid as failure:
        return _fail(session, failure.problem, failure.subject, failure.detail)
    except OutputLost:
        raise
    except Failure as failure:
        _tell_details(session)
        return _fail(session, failure.problem, failure.subject, failure.detail)
    except (click.Abort, KeyboardInterrupt):
        return _fail(session, problems.STOPPED, "the command", "Ctrl-C")
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback for people
        from zimage_syncd.logs import text_without_secrets  # noqa: PLC0415 - structlog is not needed for anything else

        _tell_details(session)
        known = foreseen(error)
        if known is not None:
            return _fail(session, known.problem, known.subject, known.detail)
        return _fail(session, problems.INTERNAL, type(error).__name__, text_without_secrets(str(error))[:500])


def _tell_details(session: Session) -> None:
    """With -v, the traceback of the failure that is being handled, without secrets of foreign libraries' messages."""
    if session.verbose:
        from zimage_syncd.logs import text_without_secrets  # noqa: PLC0415 - as above

        sys.stderr.write(text_without_secrets(traceback.format_exc()))


def _usage_subject(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if isinstance(context, click.Context) else "zimage-syncd"


def _fail(session: Session, problem: Problem, subject: str, detail: str) -> int:
    if session.as_json:
        from zimage_syncd.report.json_document import problem_fields  # noqa: PLC0415 - as in `Session`

        content = {"problem": problem_fields(problem), "subject": plain(subject), "detail": plain(detail)}
        session.write_json("error", content)
    else:
        _say(problem, subject, detail)
    return problem.exit_code


def _say(problem: Problem, subject: str, detail: str) -> None:
    message = f"error {problem.code}: {problem.title}: {subject}"
    message = f"{message}: {detail}" if detail else message
    sys.stderr.write(f"{plain(message)}\n  remedy: {problem.remedy}\n")
