"""The manifest of a checkpoint: whose state it is, its history, and checksums of both.

`checkpoints/<job id>/<epoch>.json` stands beside `<epoch>.safetensors` and is written after it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from deep_clustering.platform.request.configs import Value
from deep_clustering.platform.store.store import Finding, Problem, Store

#: Format 1 had no checksum of the manifest itself.
_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known of a checkpoint beside its tensors."""

    job: str
    epoch: int  # epochs done
    sha256: str  # of the file of tensors
    history: Mapping[str, Value]

    def encoded(self) -> bytes:
        """Its file."""
        return json.dumps(self._body() | {"check": self._check()}).encode()

    @classmethod
    def decoded(cls, data: bytes, job: str, epoch: int) -> "Manifest":
        """The manifest in a file.

        Args:
            data: of the file.
            job: whose folder it is in.
            epoch: that its name says.

        Raises:
            ValueError: it is not what was written, or belongs to another checkpoint.
        """
        try:
            said = json.loads(data)
            found = cls(**{name: said[name] for name in ("job", "epoch", "sha256", "history")})
            kind, check = said["format"], said.get("check")
        except (KeyError, TypeError, RecursionError, UnicodeDecodeError) as error:
            raise ValueError("its manifest is of another form") from error
        if kind not in (1, _FORMAT):
            raise ValueError(f"its manifest is of format {kind}")
        if kind == _FORMAT and check != found._check():
            raise ValueError("the checksum of its manifest does not match")
        if (found.job, found.epoch) != (job, epoch):
            raise ValueError(f"it belongs to {found.job} at epoch {found.epoch}")
        return found

    def check(self, tensors: bytes) -> None:
        """See that a file of tensors is the one that belongs to it.

        Raises:
            ValueError: it is another one.
        """
        if hashlib.sha256(tensors).hexdigest() != self.sha256:
            raise ValueError("its checksum does not match")

    def _body(self) -> dict[str, Value]:
        return {
            "format": _FORMAT,
            "job": self.job,
            "epoch": self.epoch,
            "sha256": self.sha256,
            "history": dict(self.history),
        }

    def _check(self) -> str:
        return hashlib.sha256(json.dumps(self._body(), sort_keys=True).encode()).hexdigest()[:16]


def epochs(store: Store, job: str) -> list[int]:
    """The epochs that a job has checkpoints of, in their order."""
    names = store.list(f"checkpoints/{job}")
    stems = (n.rsplit("/", 1)[-1].removesuffix(".json") for n in names if n.endswith(".json"))
    return sorted(int(stem) for stem in stems if stem.isdigit())


def findings(store: Store) -> Iterator[Finding]:
    """Checkpoints of a store that are not what was written, with what mends them."""
    for job in sorted({path.split("/")[1] for path in store.list("checkpoints")}):
        for epoch in epochs(store, job):
            name = f"checkpoints/{job}/{epoch:06d}"
            try:
                manifest = Manifest.decoded(store.read_bytes(f"{name}.json"), job, epoch)
                manifest.check(store.read_bytes(f"{name}.safetensors"))
            except (ValueError, OSError) as error:
                reason = f"damaged checkpoint ({error})"
                yield Finding(
                    Problem(f"{name}.json", "damaged", reason), partial(_set_aside, store, name)
                )


def _set_aside(store: Store, name: str) -> str:
    for suffix in (".json", ".safetensors"):
        store.set_aside(name + suffix)
    return "moved to quarantine/; the one before it takes its place"
