"""What `precision = auto` means is settled before a run has its id."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deep_clustering.platform.request import _precision, configs
from support.small import images, request, run_of

Tell = Callable[[str], None]


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tell]:
    """Says what the machine's CPU can do."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(_precision, "_CPU", file)

    def tell(text: str) -> None:
        file.write_text(text)
        _precision.bfloat16.cache_clear()

    yield tell
    _precision.bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("model name : Xeon\nflags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("flags : fpu avx512_bf16\n", True),
        ("Features : fp asimd bf16\n", True),
        ("flags : fpu avx2 avx512f\nbugs : amx_bf16\n", False),
        ("", False),
    ],
)
def test_the_instructions_decide(cpu: Tell, text: str, can: bool) -> None:
    cpu(text)
    assert _precision.bfloat16() is can


def test_a_machine_that_does_not_say_has_none(tmp_path: Path, cpu: Tell) -> None:
    assert not _precision.bfloat16()


def test_auto_has_the_id_of_what_is_computed(cpu: Tell, tmp_path: Path) -> None:
    folder, root = images(tmp_path / "pictures"), tmp_path / "data"

    def id(*sets: str) -> str:
        return run_of(list(request(folder, root, *sets).wanted((0,)).jobs)).id

    auto = ("precision=auto", "pretrain.precision=auto")
    cpu("flags : amx_bf16")
    assert id(*auto) == id("precision=bf16", "pretrain.precision=bf16")
    plain, asked = request(folder, root), request(folder, root, *auto)
    told = dict(asked.layers)["this CPU"]
    assert told == {"precision": "bf16", "pretrain.precision": "bf16"}
    assert dict(plain.layers)["this CPU"] == {}
    flat = configs.flatten(plain.configure({"precision": "auto"}))
    assert (flat["precision"], flat["pretrain.precision"]) == ("bf16", "fp32")
    cpu("flags : avx2")
    assert configs.flatten(request(folder, root, *auto).config)["precision"] == "auto"
    assert id(*auto) not in (id(), id("precision=bf16", "pretrain.precision=bf16"))
