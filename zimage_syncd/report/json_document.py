"""Results as JSON documents with a `schema` field; the same data as the text."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import datetime
from typing import Any

from zimage_syncd.model.plan import Action, Plan
from zimage_syncd.model.problems import Problem
from zimage_syncd.model.report import Finding, Report
from zimage_syncd.report.words import plain


def to_json(kind: str, content: dict[str, Any]) -> str:
    """One document.

    Args:
        kind: report, plan, snapshots, status, health, path, environment, error.
        content: its fields; dataclasses, enums and times are turned into JSON.
    """
    return json.dumps({"schema": f"zimage-syncd/{kind}/1", **content}, default=_plain_value, indent=2)


def report_fields(report: Report) -> dict[str, Any]:
    """A report's fields, with its exit code."""
    return {
        **_fields(report),
        "findings": [finding_fields(item) for item in report.findings],
        "exit_code": report.exit_code,
    }


def finding_fields(finding: Finding) -> dict[str, Any]:
    """A finding's fields."""
    return {**_fields(finding), "problem": problem_fields(finding.problem), "subject": plain(finding.subject)}


def problem_fields(problem: Problem) -> dict[str, Any]:
    """A problem's fields."""
    return {
        "code": problem.code,
        "title": problem.title,
        "severity": str(problem.severity),
        "remedy": problem.remedy,
    }


def plan_fields(plan: Plan) -> dict[str, Any]:
    """A plan's fields; manifests are named by their ids."""
    return {
        "fetch_bytes": plan.fetch_bytes,
        "needed_bytes": plan.needed_bytes,
        "free_bytes": plan.free_bytes,
        "links": list(plan.links),
        "notes": list(plan.notes),
        "snapshots": [
            {
                "snapshot": str(snapshot.manifest.key),
                "manifest_id": snapshot.manifest.id,
                "source": snapshot.source,
                "mode": str(snapshot.mode),
                "directory": snapshot.directory,
                "fetch_bytes": snapshot.fetch_bytes,
                "actions": [_action_fields(action) for action in snapshot.actions],
            }
            for snapshot in plan.snapshots
        ],
    }


def _action_fields(action: Action) -> dict[str, Any]:
    fields: dict[str, Any] = {"action": type(action).__name__, "path": str(action.entry.path), "reason": action.reason}
    for name in ("fetch_bytes", "chunks"):
        if hasattr(action, name):
            fields[name] = getattr(action, name)
    return fields


def _fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _plain_value(value: object) -> object:
    if isinstance(value, Problem):
        return problem_fields(value)
    if isinstance(value, Finding):
        return finding_fields(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON document")
