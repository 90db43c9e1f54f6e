"""Places outside this instance's disks that keep snapshots, and the format that they keep."""
