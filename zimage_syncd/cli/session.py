"""One run of the command line: its configuration, its output, its exit code."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zimage_syncd.cli.signals import StopFlag
from zimage_syncd.model.failures import OutputLost

if TYPE_CHECKING:
    # `--help` does not wait for what only a job needs: manifests, configuration, reports.
    from zimage_syncd.cli.services import Services
    from zimage_syncd.config import Config
    from zimage_syncd.daemon.pulse import Pulse
    from zimage_syncd.model.report import Report
    from zimage_syncd.ports import Monitor


def drop_output() -> None:
    """Lets what is left to be written go nowhere: it would fail once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(slots=True)
class Session:
    """What all commands share."""

    config: str | None = None
    """--config."""
    as_json: bool = False
    """--json."""
    verbose: bool = False
    """-v."""
    stop: StopFlag = field(default_factory=StopFlag)
    """Set by SIGTERM and Ctrl-C."""

    def monitor(self) -> Monitor:
        """What shows progress on standard error."""
        from zimage_syncd.cli.progress import open_progress  # noqa: PLC0415 - as in `services`

        return open_progress(sys.stderr, quiet=self.as_json)

    def configuration(self) -> Config:
        """The configuration that counts here, as it is now.

        Raises:
            ConfigMissing, ConfigInvalid, ConfigContradictory, ConfigUntrusted, StoreUrlInvalid: as their names say.
        """
        from zimage_syncd.config import load_config  # noqa: PLC0415 - as in `services`

        return load_config(self.config, os.environ, os.getcwd(), os.path.expanduser("~"))

    def services(self, pulse: Pulse | None = None) -> Services:
        """The jobs on the configuration that counts here.

        Imports happen here, so that `--help` does not wait for them.

        Args:
            pulse: stands between the jobs and this session's monitor and wish to stop.

        Raises:
            ConfigMissing, ConfigInvalid, ConfigContradictory, ConfigUntrusted, StoreUrlInvalid: as their names say.
        """
        from zimage_syncd.services import open_services  # noqa: PLC0415

        monitor, cancel = (self.monitor(), self.stop) if pulse is None else (pulse, pulse)
        return open_services(self.configuration(), monitor=monitor, cancel=cancel, verbose=self.verbose)

    def write(self, text: str) -> None:
        """Writes a result to standard output.

        Raises:
            OutputLost: it is closed, or a full disk.
            BrokenPipeError: whoever read it has gone.
        """
        if sys.stdout is None:
            raise OutputLost("standard output", "it is closed")
        try:
            sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            drop_output()
            raise OutputLost("standard output", str(error.strerror)) from error

    def write_json(self, kind: str, content: dict[str, Any]) -> None:
        """Writes a result as the one JSON document."""
        from zimage_syncd.report.json_document import to_json  # noqa: PLC0415

        self.write(to_json(kind, content))

    def write_report(self, report: Report) -> int:
        """Writes a report; returns its exit code."""
        from zimage_syncd.report.json_document import report_fields  # noqa: PLC0415
        from zimage_syncd.report.text import report_text  # noqa: PLC0415

        if self.as_json:
            self.write_json("report", report_fields(report))
        else:
            self.write(report_text(report))
        return report.exit_code
