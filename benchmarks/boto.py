"""boto3's own `download_file` and `upload_file` (s3transfer), as people use them.

python benchmarks/boto.py get ENDPOINT BUCKET PREFIX DIRECTORY
python benchmarks/boto.py put ENDPOINT BUCKET PREFIX DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3


def main() -> None:
    """Moves all files below a prefix."""
    verb, endpoint, bucket, prefix, directory = sys.argv[1:]
    client: Any = boto3.client("s3", endpoint_url=endpoint)
    place = Path(directory)
    if verb == "put":
        for path in sorted(place.iterdir()):
            client.upload_file(str(path), bucket, prefix + path.name)
        return
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page["Contents"]:
            client.download_file(bucket, item["Key"], str(place / Path(item["Key"]).name))


if __name__ == "__main__":
    main()
