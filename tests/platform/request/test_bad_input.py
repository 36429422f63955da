"""Bad input: one clear sentence, exit code 2 (or 4 for storage), nothing started, nothing written.

Rows of the fault matrix: 14, 18, 29, 35, 36, 42, 51, 58 to 62.
"""

import re
import time
from pathlib import Path

import click
import pytest
from PIL import Image

from deep_clustering.platform.cli import cli
from deep_clustering.platform.errors import InputError
from deep_clustering.platform.request import configs
from deep_clustering.platform.start import main
from deep_clustering.platform.store import _mark
from deep_clustering.platform.store.store import Store
from support.small import SETS, images, resolved


class Asked:
    """What a command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEP_CLUSTERING_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def given(*arguments: object) -> Asked:
        begun, store = time.process_time(), tmp_path / "store"
        nothing = not store.exists()
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        assert time.process_time() - begun < 20
        out, err = capsys.readouterr()
        assert not nothing or not store.exists()  # nothing here computes
        return Asked(int(left.value.code or 0), out, err)

    return given


@pytest.mark.fault(42, 51, 58, 63)
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("trian",), "there is no command 'trian'. Did you mean 'train'?"),
        (("train", "cdd", "--dataset", "digits"), "no method 'cdd'. Did you mean 'cdc'?"),
        (("train", "cdc", "--dataset", "digit"), "no dataset 'digit'. Did you mean 'digits'?"),
        (("train", "cdc", "--datset", "digits"), "'--dataset'"),
        (("train", "cdc"), "Missing option '--dataset'"),
        (("ablate", "--suite", "cdc-tabel2"), "no suite 'cdc-tabel2'. Did you mean 'cdc-table2'?"),
        (("ablate", "--suite", "mine.toml"), "there is no file mine.toml"),
        (("ablate",), "say what to ablate: --suite NAME"),
        (("ablate", "cdc"), "say which suite or variants"),
        (
            ("ablate", "cdc", "--suite", "cdc-table2"),
            "--suite names a suite as a whole: leave out METHOD",
        ),
        (
            ("ablate", "cdc", "--variants", "singel-head"),
            "no variant 'singel-head'. Did you mean 'single-head'?",
        ),
        (
            ("ablate", "--suite", "cdc-table2", "--dataset", "digit"),
            "no dataset 'digit'. Did you mean 'digits'?",
        ),
        (
            ("ablate", "--suite", "cdc-table2", "--dataset", "digits", "--set", "epoch=2"),
            "no field 'epoch'. Did you mean 'epochs'?",
        ),
        (
            ("ablate", "--suite", "cdc-table2", "--max-seeds", "9"),
            "--max-seeds goes with --until-settled",
        ),
        (
            ("ablate", "--suite", "cdc-table2", "--until-settled", "--seeds", "1"),
            "a difference needs two; say --seeds 2",
        ),
        (
            ("ablate", "--suite", "cdc-table2", "--until-settled", "--max-seeds", "4"),
            "--max-seeds 4 is less than the 5 seeds to begin with",
        ),
        (
            ("ablate", "--suite", "cdc-fig4", "--until-settled"),
            "cdc-fig4 has no claims to settle",
        ),
        (("audit", "cdd"), "no paper 'cdd'. Did you mean 'cdc'?"),
        (("variants", "cdd"), "no method 'cdd'. Did you mean 'cdc'?"),
        (
            ("train", "cdc", "--dataset", "digits", "--set", "mini_cluster=3"),
            "no field 'mini_cluster'. Did you mean 'mini_clusters'?",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--preset", "papre"),
            "no preset 'papre' of cdc. Did you mean 'paper'?",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--set", "encoder_lr=0"),
            "encoder_lr: must be above 0, got 0",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--set", "encoder_lr=nan"),
            "encoder_lr: needs a finite number, got 'nan'",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--set", "epochs=ten"),
            "epochs: needs a whole number, got 'ten'",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--set", "mini_clusters=501"),
            "mini_clusters: must be at most batch_size (500), got 501",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--set", "sub_batch_size=300"),
            "sub_batch_size: must divide batch_size (500), got 300",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--set", "batch_size=2000"),
            "batch_size: needs at least 2000 images to train on, found 1797; set a smaller one, "
            "for example --set batch_size=896 --set sub_batch_size=56",
        ),
        (("train", "cdc", "--dataset", "digits", "--seeds", "0"), "--seeds"),
        (("train", "cdc", "--dataset", "folder:nowhere"), "nowhere"),
        (("tune", "cdc", "--dataset", "digits", "--trials", "0"), "--trials: needs at least 1"),
        (
            ("tune", "cdc", "--dataset", "digits", "--objective", "accc"),
            "Did you mean 'acc'?",
        ),
        (
            ("tune", "cc", "--dataset", "digits"),
            "silhouette is computed in pretrained features, and cc has none; choose --objective",
        ),
        (("tune", "cdc", "--dataset", "digits", "--sampler", "tpa"), "Did you mean 'tpe'?"),
        (
            ("tune", "cdc", "--dataset", "digits", "--scheduler", "ahsa"),
            "there is no scheduler 'ahsa'. Did you mean 'asha'?",
        ),
        (
            (
                "tune", "cdc", "--dataset", "digits", "--scheduler", "asha",
                "--objective", "acc,ece",
            ),
            "asha stops trials by one objective",
        ),
        (
            ("tune", "cdc", "--dataset", "digits", "--space", "mini_cluster"),
            "'mini_cluster' is not searched. Did you mean 'mini_clusters'?",
        ),
        (
            (
                "tune", "cdc", "--dataset", "digits", "--space", "entropy_weight",
                "--set", "entropy_weight=1",
            ),
            "entropy_weight: --set fixes it and --space searches it",
        ),
        (("tune", "cdc", "--dataset", "digits", "--study", "../x"), "--study: letters, digits"),
        (("predict", "abc", "--images", "."), "there is no"),
        (("predict", "abc", "--images", ".", "--output", "x.txt"), "x.txt ends with none of .csv"),
        (
            ("tune", "pac", "--dataset", "digits", "--scheduler", "asha"),
            "asha stops trials between epochs, and pac fits at once; leave --scheduler out",
        ),
        (
            ("train", "cdc", "--dataset", "digits", "--features", "dpac"),
            "cdc trains networks on images and takes no --features",
        ),
        (
            ("train", "cdc", "--dataset", "pendigits", "--dry-run"),
            "pendigits has vectors, and cdc trains networks on images",
        ),
        (
            ("train", "pac", "--dataset", "cifar10", "--protocol", "train-test", "--dry-run"),
            "pac fits the very images that are scored",
        ),
        (("train", "pac", "--dataset", "table:nowhere.csv"), "There is no table"),
    ],
)  # fmt: skip
def test_one_sentence_and_exit_code_2(ask, tmp_path: Path, arguments, sentence: str) -> None:
    answer = ask(*arguments)
    assert answer.code == 2, answer.err
    assert sentence in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "store" / "runs").exists() or not any(
        (tmp_path / "store" / "runs").iterdir()
    )


@pytest.mark.fault(59)
def test_all_mistakes_of_a_command_at_once(ask) -> None:
    answer = ask("train", "cdd", "--dataset", "digit", "--set", "epochs=ten")
    assert answer.code == 2
    assert "no method 'cdd'" in answer.err
    assert "no dataset 'digit'" in answer.err
    answer = ask(
        "train", "cdc", "--dataset", "digits", "--set", "epochs=-1",
        "--set", "pretrain.epochs=0", "--set", "mini_clusters=501",
    )  # fmt: skip
    for field in (
        "epochs: must not be negative",
        "pretrain.epochs",
        "mini_clusters: must be at most",
    ):
        assert field in answer.err


def test_a_label_metric_without_labels_names_the_label_free_ones(ask, tmp_path: Path) -> None:
    plain = images(tmp_path / "plain", labelled=False)
    sets = [x for s in SETS for x in ("--set", s)]
    answer = ask("tune", "cdc", "--dataset", f"folder:{plain}", *sets, "--objective", "acc")
    assert answer.code == 2
    assert "silhouette" in answer.err
    answer = ask("train", "cdc", "--dataset", f"folder:{plain}")
    assert answer.code == 2
    assert "--set clusters=10" in answer.err


def test_a_folder_without_images_says_what_was_found(ask, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    answer = ask("train", "cdc", "--dataset", "folder:empty", "--set", "clusters=3")
    assert answer.code == 2
    assert "empty" in answer.err


@pytest.mark.ray
def test_a_broken_image_is_listed_and_can_be_left_out(ask, tmp_path: Path) -> None:
    mine = images(tmp_path / "mine")
    (mine / "kind 1" / "broken.png").write_bytes(b"not a picture")
    sets = [x for s in SETS for x in ("--set", s)]
    answer = ask("train", "cdc", "--dataset", f"folder:{mine}", *sets, "--dry-run")
    assert answer.code == 2
    assert "broken.png" in answer.err
    answer = ask("train", "cdc", "--dataset", f"folder:{mine}", *sets, "--dry-run", "--skip-broken")
    assert answer.code == 0


@pytest.mark.fault(40)
def test_images_that_are_all_the_same_are_refused(ask, tmp_path: Path) -> None:
    """No partition of them means anything; batches of them would train without an error."""
    for number in range(64):
        place = tmp_path / "same" / f"kind {number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (90, 90, 90)).save(place / f"{number}.png")
    for method in (("cdc", *[x for s in SETS for x in ("--set", s)]), ("kmeans",)):
        answer = ask("train", *method, "--dataset", "folder:same")
        assert answer.code == 2
        assert "images that differ, found 1; the others repeat them" in answer.err


@pytest.mark.fault(18)
def test_a_store_that_cannot_be_one(ask, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "file").write_text("x")
    sets = [x for s in SETS for x in ("--set", s)]
    answer = ask("train", "cdc", "--dataset", f"folder:{folder}", *sets, "--store", "file")
    assert answer.code in (2, 4)
    assert "file" in answer.err
    assert (tmp_path / "file").read_text() == "x"


def test_a_store_of_a_newer_version_is_refused(
    ask, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr(_mark, "FORMAT", 99)
        Store.open(tmp_path / "newer")
    sets = [x for s in SETS for x in ("--set", s)]
    answer = ask("train", "cdc", "--dataset", f"folder:{folder}", *sets, "--store", "newer")
    assert answer.code == 4
    assert "with format 99; this is" in answer.err


@pytest.mark.ray
def test_a_dry_run_tells_and_writes_nothing(ask, tmp_path: Path, folder: Path) -> None:
    sets = [x for s in SETS for x in ("--set", s)]
    answer = ask(
        "train", "cdc", "--dataset", f"folder:{folder}", *sets, "--seeds", "3", "--dry-run"
    )
    assert answer.code == 0, answer.err
    assert "in the store: 0 of 3 runs" in answer.out
    assert "would run: 1 pretraining, 3 runs" in answer.out
    answer = ask("tune", "cdc", "--dataset", f"folder:{folder}", *sets, "--dry-run")
    assert answer.code == 0, answer.err
    assert "would run: 1 pretraining, 8 runs" in answer.out
    assert not (tmp_path / "store").exists()
    answer = ask(
        "train", "cdc", "--dataset", f"folder:{folder}", *sets, "--dry-run", "--store", "a/b"
    )
    assert answer.code == 0, answer.err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "command", ["train", "tune", "predict", "results", "methods", "datasets", "spaces", "doctor"]
)
def test_every_command_has_help_with_an_example(ask, command: str) -> None:
    answer = ask(command, "--help")
    assert answer.code == 0
    assert f"platform {command}" in answer.out.split("Example:")[1]


def test_the_list_of_commands_cuts_no_line(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = ask("--help").out.split("Commands:")[1].splitlines()
    assert len([line for line in listed if line.strip()]) == len(cli.commands)
    assert [line for line in listed if line.endswith("...")] == []


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_option_says_what_it_is(command: str) -> None:
    context = click.Context(cli.commands[command])
    options = [p for p in cli.commands[command].get_params(context) if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(ask, shell: str) -> None:
    answer = ask("completion", shell)
    assert answer.code == 0
    assert "_PLATFORM_COMPLETE" in answer.out


@pytest.mark.parametrize(
    ("command", "first", "runs"),
    [
        ("train cdc --dataset cifar10 --seeds 2", "be downloaded", "1 pretraining, 2 runs"),
        ("train kmeans --dataset imagenet10", "needs your ImageNet at", "1 run"),
        ("tune cdc --dataset cifar10 --trials 3", "be downloaded", "1 pretraining, 3 runs"),
        (
            "cluster cifar10 --clusters 10 --sort-into x",
            "be downloaded",
            "1 pass of the encoder, 1",
        ),
    ],
)
def test_a_dry_run_downloads_nothing(
    ask, tmp_path: Path, command: str, first: str, runs: str
) -> None:
    answer = ask(*command.split(), "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    assert re.search(rf"is not here yet: .*{first}", answer.out)
    assert runs in answer.out
    assert not (tmp_path / "data").exists()


def test_a_dry_run_of_a_suite_needs_no_images_and_downloads_none(ask, tmp_path: Path) -> None:
    answer = ask("ablate", "--suite", "cdc-table2", "--dry-run")
    assert answer.code == 0, answer.err
    assert "165 runs asked for, 165 distinct" in answer.out
    assert "would run: 3 pretrainings, 165 runs" in answer.out
    assert "about 553.5 h of one device (from the paper's Table 7" in answer.out
    assert "stl10 is not here yet" in answer.out
    assert "w/o Init.+CDC: acc below CDC-Cal on cifar20" in answer.out
    answer = ask("ablate", "--suite", "ruc-table5", "--dataset", "stl10", "--dry-run")
    assert "in the store: 0 of 15 runs" in answer.out  # the bases are none of them
    assert "would run: 5 base runs, 5 outputs of bases, 15 runs" in answer.out
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "store" / "plans").exists()


def test_what_is_advised_for_few_images_can_be_asked_for(tmp_path: Path) -> None:
    """A smaller batch alone would break the rules of what it is divided into."""
    large = ["batch_size=3000", "sub_batch_size=1500", "mini_clusters=2000"]
    with pytest.raises(InputError) as refused:
        resolved("cdc", "digits", root=tmp_path, sets=large)
    advised = re.findall(r"--set (\S+)", str(refused.value))
    assert advised == ["batch_size=898", "sub_batch_size=449", "mini_clusters=598"]
    config = resolved("cdc", "digits", root=tmp_path, sets=advised).config
    assert configs.flatten(config)["batch_size"] == 898
