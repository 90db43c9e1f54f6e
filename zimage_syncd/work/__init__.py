"""The jobs: each module does one of them, through the protocols in `zimage_syncd.ports`."""
