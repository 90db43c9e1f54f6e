"""The catalogue of everything that can be wrong: stable code, title, severity, remedy, exit code.

The command line, reports, logs and docs/problems.md all speak from it. A code is never reused for another
meaning. What can go wrong with an installed copy (ZS6…) is in installation_problems.py.
"""

from __future__ import annotations

from zimage_syncd.model import catalogue
from zimage_syncd.model import installation_problems as installation_problems  # noqa: PLC0414 - enters its own
from zimage_syncd.model.catalogue import add as _add

Problem = catalogue.Problem
Severity = catalogue.Severity
CATALOGUE = catalogue.CATALOGUE
"""All problems by code; whole when this module is imported."""

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

# Usage and configuration: exit code 3.
USAGE = _add("ZS001", "the command line is not understood", _E, "See `zimage-syncd --help`.", 3)
CONFIG_MISSING = _add(
    "ZS002",
    "no configuration",
    _E,
    "Name one with --config or $ZIMAGE_SYNCD_CONFIG, write ./zimage-syncd.toml (config/ has an example), or set "
    "ZIMAGE_SYNCD__CACHE__DIR.",
    3,
)
CONFIG_INVALID = _add(
    "ZS003", "the configuration is not valid", _E, "Correct the key that is named; docs list all keys.", 3
)
CONFIG_CONTRADICTORY = _add(
    "ZS004", "the configuration contradicts itself", _E, "Change one of the two settings that are named.", 3
)
CONFIG_UNTRUSTED = _add(
    "ZS005",
    "the configuration is open to others",
    _E,
    "Make it belong to root or yourself and take the write permission from group and others: chmod go-w FILE; a file "
    "with credentials must be for its owner alone: chmod 600 FILE.",
    3,
)
STORE_URL_INVALID = _add(
    "ZS006",
    "a store's address cannot be used",
    _E,
    "Use a plain path (cache tree), file:///PATH, s3://BUCKET/PREFIX, or a URL that an installed fsspec "
    "implementation serves.",
    3,
)

# The disk.
DATA_DISK_MISSING = _add(
    "ZS101",
    "the data disk is missing",
    _E,
    "Mount it, then try again. Nothing was written. If there is no separate data disk, leave cache.mount out.",
)
DATA_DISK_FOREIGN = _add(
    "ZS102",
    "the data disk belongs to another cache",
    _E,
    "Mount the right disk, or set cache.id to the id found there if that cache is to be used from now on.",
)
DATA_DISK_READ_ONLY = _add(
    "ZS103",
    "the disk is read-only",
    _E,
    "Look into the kernel's log for disk errors, then mount it read-write again.",
)
NO_SPACE = _add(
    "ZS104", "not enough space", _E, "Free the bytes that are named, or enlarge the disk. What is there stays as it is."
)
CACHE_BUSY = _add(
    "ZS105", "another process works on this cache", _E, "Wait for the process that is named, or end it.", 75
)
PATH_UNREADABLE = _add(
    "ZS106", "a path cannot be read", _E, "Correct its owner or permissions, or run as the user who owns it."
)
PATH_UNWRITABLE = _add(
    "ZS107",
    "a path cannot be written",
    _E,
    "Correct its owner or permissions, or run as the user who owns it.",
)
LINK_OCCUPIED = _add(
    "ZS108",
    "something else lies where the cache link belongs",
    _E,
    "A directory is taken into the cache by the daemon, or by `zimage-syncd adopt`. Anything else was not touched: "
    "move it away, then run `zimage-syncd restore`.",
)
TAKE_IN_BUSY = _add(
    "ZS118",
    "a directory that belongs into the cache is being written to",
    _W,
    "Let the download finish. The daemon then takes the directory in; without it, run `zimage-syncd adopt` again.",
    exit_code=75,
)
TAKE_IN_KEPT = _add(
    "ZS119",
    "not all of a directory could be taken into the cache",
    _W,
    "What the cache holds with another content, or cannot hold, was kept. Look at it, and remove what is not needed.",
)
ENVIRONMENT_OCCUPIED = _add(
    "ZS117",
    "somebody else's file lies where a file of environment variables belongs",
    _E,
    "Move it away (it was not touched), then run `zimage-syncd env --install`.",
)
UNSAFE_PATH = _add(
    "ZS109",
    "a path could leave its root",
    _E,
    "Do not trust the manifest, store or cache that it came from; nothing was written.",
)
DISK_ERROR = _add(
    "ZS110",
    "the disk reported an error",
    _E,
    "Look into the kernel's log (dmesg); a disk with errors should be replaced.",
)
LINK_MODE_UNSUPPORTED = _add(
    "ZS111",
    "this way of linking is not possible here",
    _E,
    "Use --mode auto or --mode copy. Reflinks need btrfs, XFS or bcachefs with source and cache on one file system; "
    "hard links need one file system; symlinks need a cache tree.",
)
LINK_LOST = _add("ZS112", "the cache link is missing", _W, "Run `zimage-syncd restore`; it makes the link again.")
LINK_ELSEWHERE = _add(
    "ZS113",
    "the cache link points elsewhere",
    _W,
    "If the other target is not wanted, remove the link and run `zimage-syncd restore`.",
)
DEVICE_FULL = _add(
    "ZS114",
    "the disk is full",
    _E,
    "Free space, then run the command again: it goes on where it stopped.",
)
CACHE_MISSING = _add(
    "ZS115",
    "the cache directory is not there",
    _E,
    "Run `zimage-syncd restore`, or correct cache.dir.",
)
DATA_DISK_UNKNOWN = _add(
    "ZS116",
    "the data disk's identity cannot be understood",
    _E,
    "Nothing was written. If this is the right disk, remove the file that is named: the next job writes a new one. If "
    "a newer version of this program wrote it, update instead.",
)
DATA_DISK_IN_USE = _add(
    "ZS120",
    "another host uses the data disk",
    _E,
    "Detach the disk from one of the two hosts, or end zimage-syncd on the one that is named, and try again. If that "
    "host is gone: the daemon, or a command that waits, takes the disk when it has seen no sign of life for three "
    "minutes.",
    75,
)
DATA_DISK_TAKEN = _add(
    "ZS121",
    "another host has taken the data disk over",
    _E,
    "This process stood still for longer than its lease, and has published nothing since. Run the command again when "
    "the other host has finished.",
    75,
)

# What the cache holds.
SNAPSHOT_INCOMPLETE = _add(
    "ZS201",
    "a snapshot is not complete",
    _E,
    "Finish the download with the library that began it, or run `zimage-syncd restore`; where a file cannot be read, "
    "correct its owner or permissions.",
)
SNAPSHOT_MISSING = _add(
    "ZS202",
    "a repository is not in the cache",
    _E,
    "Run `zimage-syncd restore`, or download it; `zimage-syncd snapshots` lists what is there.",
)
FILE_DAMAGED = _add(
    "ZS203",
    "a file's content is damaged",
    _E,
    "Run `zimage-syncd verify --deep --repair`: it mends the chunks that are named.",
)
FILE_MISSING = _add("ZS204", "a file is missing", _E, "Run `zimage-syncd verify --repair` or `zimage-syncd restore`.")
FILE_SIZE = _add("ZS205", "a file has the wrong size", _E, "Run `zimage-syncd verify --repair`.")
FILE_UNEXPECTED = _add(
    "ZS206", "a file is not in the snapshot's manifest", _N, "Nothing needs to be done; the next backup takes it in."
)
LINK_WRONG = _add("ZS207", "a symlink of the snapshot is wrong", _E, "Run `zimage-syncd verify --repair`.")
MODE_WRONG = _add("ZS208", "a file's permissions differ", _W, "Run `zimage-syncd verify --repair`.")
REVISION_CHANGED = _add(
    "ZS209",
    "a mutable revision has other content than the last good one",
    _E,
    "If the change is wanted (the repository was updated): `zimage-syncd backup --accept-changed`. If not: "
    "`zimage-syncd verify --deep --repair`.",
)
FILE_CHANGING = _add(
    "ZS210", "a file changed while it was read", _E, "Wait until the download has finished, then try again."
)
UNPROVED = _add(
    "ZS211",
    "nothing was there to compare the content with",
    _N,
    "A download by a current huggingface_hub leaves a list (trees/) that proves it.",
)
HEADER_DAMAGED = _add(
    "ZS212", "a weight file's header does not fit the file", _E, "Run `zimage-syncd verify --deep --repair`."
)
UNREPAIRED = _add(
    "ZS213",
    "damage could not be mended",
    _E,
    "Make a store with a good copy reachable (`zimage-syncd snapshots`), then run verify --repair again.",
)
POINTER_MISSING = _add(
    "ZS214", "a pointer of the snapshot is missing", _W, "Run `zimage-syncd verify --repair` or `restore`."
)
DISAGREES_WITH_SOURCE = _add(
    "ZS215",
    "a file differs from what its publisher lists",
    _E,
    "It was damaged in the cache. Delete it and download it again, or run `zimage-syncd verify --deep --repair`.",
)
NEVER_RECORDED = _add(
    "ZS216",
    "there is no manifest to compare with",
    _N,
    "Run `zimage-syncd backup`: it records the snapshot.",
)
POINTER_DAMAGED = _add(
    "ZS218",
    "a pointer of the snapshot is damaged",
    _E,
    "Run `zimage-syncd verify --repair`: the library and this program rely on it.",
)
DOWNLOAD_DIED = _add(
    "ZS219",
    "a download ended before it was finished",
    _E,
    "Start it again with the library that began it, which keeps the files that are whole; or, where a store has it, "
    "run `zimage-syncd restore`.",
)
CACHE_EMPTY = _add("ZS217", "the cache holds no snapshot", _E, "Download a model, or run `zimage-syncd restore`.")

# Manifests and archives.
MANIFEST_INVALID = _add(
    "ZS301",
    "a manifest is not valid",
    _E,
    "Do not trust where it came from; restore another snapshot with --snapshot ID.",
)
MANIFEST_CORRUPT = _add(
    "ZS302",
    "a manifest's content is not what its name says",
    _E,
    "The store damaged it. Run `zimage-syncd backup` from an intact cache.",
)
FORMAT_UNKNOWN = _add(
    "ZS303",
    "the archive has a format that this version does not know",
    _E,
    "Update zimage-syncd, or use another prefix.",
)
BLOB_MISSING = _add(
    "ZS304",
    "a blob is missing in the store",
    _E,
    "Run `zimage-syncd backup` from an intact cache; it uploads it again.",
)
CHUNK_CORRUPT = _add(
    "ZS305",
    "a store served bytes that do not match their digest",
    _E,
    "Run `zimage-syncd verify --store NAME --deep --repair`: it sends what is damaged again from the cache. Restore "
    "from another store with --from. Of a hub: the revision has moved on, and no longer has this content.",
)
NOT_IN_STORE = _add(
    "ZS306",
    "no store has this snapshot",
    _E,
    "`zimage-syncd snapshots` lists what the stores hold; check the name, --revision and --layout.",
)
NOT_AN_ARCHIVE = _add(
    "ZS307",
    "no archive is there",
    _E,
    "Check the address. The first `zimage-syncd backup` makes the archive.",
)
BLOB_WRONG_SIZE = _add(
    "ZS308",
    "a blob in the store has the wrong size",
    _E,
    "Run `zimage-syncd backup` from an intact cache; it uploads it again.",
)

# Stores.
STORE_MISSING = _add(
    "ZS401", "the store does not exist", _E, "Check the bucket or directory in the store's url, or create it."
)
STORE_DENIED = _add(
    "ZS402",
    "the store denies access",
    _E,
    "Check the credentials (boto3's chain, profile, credentials_file; a hub's token) and what they may do there; of a "
    "directory, its owner and permissions.",
)
STORE_UNREACHABLE = _add(
    "ZS403",
    "the store cannot be reached",
    _E,
    "Check network, endpoint_url and name resolution; then try again. Of a hub: HF_ENDPOINT, MODELSCOPE_ENDPOINT.",
)
OBJECT_MISSING = _add("ZS404", "an object is not in the store", _E, "Run `zimage-syncd verify --store NAME`.")
STORE_BROKEN = _add(
    "ZS405",
    "the store gave an answer that cannot be used",
    _E,
    "Try again; if it stays, check the server's log and the store's settings.",
)

# The health check.
PROBE_EXTRA_MISSING = _add(
    "ZS501",
    "the probe extra is not installed",
    _W,
    "pip install 'zimage-syncd[probe]', or name the interpreter that has torch and diffusers in health.python.",
)
NO_GPU = _add("ZS502", "no GPU", _W, 'Check the driver (nvidia-smi), or set health.device = "cpu".')
GPU_BUSY = _add(
    "ZS503", "the GPU is busy", _N, "Try again later (the daemon does); health.when_busy says what to do then.", 75
)
PROBE_TIMEOUT = _add(
    "ZS504", "the health check took too long", _E, "Raise health.timeout_s, or look at what the machine is doing."
)
PROBE_CRASHED = _add("ZS505", "the health check ended unexpectedly", _E, "Read the last lines of its output.")
WRONG_PICTURE = _add(
    "ZS506",
    "the generated picture is wrong",
    _E,
    "Run `zimage-syncd verify --deep`; if that is clean, suspect driver, GPU or library versions.",
)
NOT_APPLICABLE = _add("ZS507", "the repository is not a pipeline that can generate", _N, "Use --level files.")
LOAD_FAILED = _add(
    "ZS508",
    "the model could not be loaded",
    _E,
    "Run `zimage-syncd verify --deep --repair`; if that is clean, check the library versions.",
)
OUT_OF_MEMORY = _add(
    "ZS509", "out of memory during the health check", _W, "Free GPU memory, or use --level load or --level files."
)
DIFFERENT_PICTURE = _add(
    "ZS511",
    "the picture is another one than these weights drew before",
    _W,
    "Run `zimage-syncd verify --deep --repair`: it finds every flipped bit. If that is clean, libraries, driver or "
    "card changed in a way that their versions do not tell; look at both pictures side by side.",
)
DEMO_EXTRA_MISSING = _add(
    "ZS510",
    "the demo needs the probe extra",
    _E,
    "pip install 'zimage-syncd[probe]' for the interpreter that runs the demo; `make demo` does. health.python is "
    "for the health check only.",
)

# The program.
INTERNAL = _add(
    "ZS901",
    "an error that this program did not foresee",
    _E,
    "Run again with -v for the details, and report it.",
)
STOPPED = _add("ZS902", "stopped on request", _N, "Run the command again: it goes on where it stopped.")
OUTPUT_LOST = _add(
    "ZS903",
    "the result could not be written",
    _E,
    "The job was done; look where the output goes. `zimage-syncd status` names the report that was kept.",
)
NO_RESOURCES = _add(
    "ZS904",
    "the system gives this program no more threads or memory",
    _E,
    "Look at `ulimit -u`, the unit's `TasksMax=` and `MemoryMax=`, the container's limits; then run again: it goes on.",
)
