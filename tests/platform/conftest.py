"""An object store and a small disk of their own for tests of the platform."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import small_disk
from support.s3_proxy import Fault, Proxy


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


@pytest.fixture
def through(address: str, endpoint: str) -> Iterator[Callable[..., tuple[Proxy, str]]]:
    """A proxy with some faults, each PUT meeting one by chance, and the address behind it."""
    open_ones: list[Proxy] = []

    def made(*faults: Fault, share: float = 0.4) -> tuple[Proxy, str]:
        chance = random.Random(20261128)

        def fault() -> Fault | None:
            return chance.choice(faults) if chance.random() < share else None

        proxy = Proxy(endpoint, fault).__enter__()
        open_ones.append(proxy)
        return proxy, address.replace(endpoint, proxy.endpoint)

    yield made
    for proxy in open_ones:
        proxy.__exit__()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    with small_disk.mounted(tmp_path / "disk") as place:
        yield place
