"""An object store of their own for tests of the platform."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """HOST:PORT of an S3 server."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def address(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a new store may be, as a person gives it; its cache is in `tmp_path`."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = f"scheme=http&endpoint_override={endpoint}&region=us-east-1"
    server = boto3.client("s3", endpoint_url=f"http://{endpoint}", region_name="us-east-1")
    server.create_bucket(Bucket="results")
    return f"s3://results/{tmp_path.name}/store?{options}"
