"""The planner as other processes call it: the command, Tune's relays, the lanes."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deep_clustering.platform.errors import EnvironmentProblem
from deep_clustering.platform.request.jobs import Job
from deep_clustering.platform.run.failure import Failure
from deep_clustering.platform.run.planner import Planner
from deep_clustering.platform.run.progress import News, Numbers, Snapshot, Submitted

if TYPE_CHECKING:
    from ray.actor import ActorHandle

#: Seconds that the planner, which never computes, may take for an answer.
_PATIENCE = 60.0

T = TypeVar("T")


class Client:
    """Calls of the planner's methods, of the same names; see `planner.Planner`.

    Raises:
        EnvironmentProblem: from every method that waits for an answer: Ray died.
    """

    def __init__(self, actor: "ActorHandle[Planner]") -> None:
        self.actor = actor

    @classmethod
    def start(cls, limit: float | None) -> "Client":
        """A planner of one's own, on the machine of this process: it ends with no other one.

        Args:
            limit: as in `Planner`.
        """
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        made = ray.remote(num_cpus=0, max_concurrency=1000, scheduling_strategy=here)(Planner)
        return cls(made.remote(limit))

    # ---- for whoever wants results

    def submit(
        self, work: Sequence[Submitted], owner: str = "", present: Iterable[str] = ()
    ) -> None:
        self._ask(self.actor.submit.remote(list(work), owner, sorted(present)))

    def wait(self, after: Mapping[str, int], seen: int) -> News:
        return self._ask(self.actor.wait.remote(dict(after), seen))

    def cancel(self, ids: Iterable[str], owner: str = "") -> None:
        self._ask(self.actor.cancel.remote(list(ids), owner))

    def close(self) -> None:
        self._ask(self.actor.close.remote())

    def snapshot(self, seen: int = -1) -> Snapshot:
        return self._ask(self.actor.snapshot.remote(seen))

    def under_way(self) -> None:
        """Waits as long as it takes."""
        ray.get(self.actor.under_way.remote())

    def unrecorded(self) -> list[tuple[Job, Failure]]:
        return self._ask(self.actor.unrecorded.remote())

    # ---- for lanes

    def enter(self, lane: int) -> None:
        self._ask(self.actor.enter.remote(lane))

    def next(self, lane: int) -> Job | None:
        """Waits as long as it takes until there is a job."""
        job: Job | None = ray.get(self.actor.next.remote(lane))
        return job

    def finished(self, job: str, lane: int, values: Numbers) -> None:
        self._ask(self.actor.finished.remote(job, lane, dict(values)))

    def failed(self, job: str, lane: int, failure: Failure) -> None:
        self._ask(self.actor.failed.remote(job, lane, failure))

    def unwritable(self, reason: str) -> None:
        self._ask(self.actor.unwritable.remote(reason))

    def stopped(self, job: str, lane: int) -> None:
        self._ask(self.actor.stopped.remote(job, lane))

    def busy(self, job: str, lane: int) -> None:
        self._ask(self.actor.busy.remote(job, lane))

    def lane_gone(self, lane: int) -> None:
        self._ask(self.actor.lane_gone.remote(lane))

    def wanted(self, job: str) -> None:
        """Waits as long as it takes until nobody wants the job any more, or it is over."""
        ray.get(self.actor.wanted.remote(job))

    def epoch(self, job: str, epoch: int, values: Numbers) -> None:
        """Does not wait for an answer: the loop goes on."""
        self.actor.epoch.remote(job, epoch, dict(values))

    def images(self, job: str, done: int, of: int) -> None:
        """Does not wait for an answer."""
        self.actor.images.remote(job, done, of)

    def note(self, text: str) -> None:
        """Does not wait for an answer."""
        self.actor.note.remote(text)

    def _ask(self, answer: "Awaitable[T]") -> T:
        """Wait for the answer to a call: what Ray calls an object reference."""
        try:
            told: T = ray.get(answer, timeout=_PATIENCE)
            return told
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise EnvironmentProblem(
                f"Ray died ({type(error).__name__}); give the same command again to continue."
            ) from error
