"""What can go wrong with the installed copy, and with the line that brings it back; part of the catalogue."""

from __future__ import annotations

from zimage_syncd.model.catalogue import Severity, add

ROOT_NEEDED = add("ZS601", "only root can do this", Severity.ERROR, "Run it as root, or with sudo.")
PROGRAM_UNCOPIABLE = add(
    "ZS602",
    "this program cannot be copied",
    Severity.ERROR,
    "Install it by pip or uv into an environment of its own, on a Linux with glibc, and run `zimage-syncd install` "
    "from there.",
)
COPY_BROKEN = add(
    "ZS603",
    "the copy of the program does not work",
    Severity.ERROR,
    "Nothing was installed. If the reason that is given does not help, install the program into a fresh environment,"
    " and try again from there.",
)
PLACE_NOT_LASTING = add(
    "ZS604",
    "this is no place for what must outlive a reset",
    Severity.ERROR,
    "Name a directory on a disk that stays, with --to DIR.",
)
INSTALLATION_FOREIGN = add(
    "ZS605",
    "another cache's installation lies there",
    Severity.ERROR,
    "Give each cache a directory of its own, with --to DIR.",
)
INSTALLATION_REFUSED = add(
    "ZS606",
    "the system did not take the installation",
    Severity.ERROR,
    "Put right what is named, then run `zimage-syncd install` again.",
)
START_LINE_OLD = add(
    "ZS607",
    "this machine was started by the line of an older installation",
    Severity.WARNING,
    "Run `zimage-syncd install`, and put the line that it prints into the provider's start-up script.",
)
INSTALLATION_OUTDATED = add(
    "ZS608",
    "the installed copy has another configuration",
    Severity.WARNING,
    "Run `zimage-syncd install`, and put the line that it prints into the provider's start-up script. Until then a "
    "reset brings back the configuration as it was.",
)
