"""Ray, started or joined for the length of one command by a thread of its own.

The thread stays as long as Ray is used: Linux ends what it has started together with it. In the
main thread Ray would put its own handler of SIGTERM in place of the command's, and a Ctrl-C would
reach Ray in the middle of its start.
"""

import concurrent.futures
import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import psutil
import ray
from ray._private import services
from ray._private.node import Node

from deep_clustering.platform.errors import RAY_DIED, EnvironmentProblem
from deep_clustering.platform.run._guard import VARIABLE

#: Seconds after which a signal is heard while Ray starts.
_PAUSE = 0.2
#: Seconds in which Ray's node is mostly there, once its processes are started.
_NODE_WAIT = 3.0
#: Says how many seconds Ray waits for its server to open a port.
_PORT_WAIT = "RAY_gcs_server_port_wait_time_s"


class Cluster:
    """Use `start` once; `stop` ends it before the process ends.

    Args:
        address: of a cluster to join; None: one of this command's own.
        scratch: an empty folder for Ray's files, removed at the end.
    """

    def __init__(self, address: str | None, scratch: str) -> None:
        self._address, self._scratch = address, scratch
        self._started: Future[None] = Future()
        self._stopped = threading.Event()
        self._processes: list[psutil.Process] = []  # without any of these there is no Ray

    def start(self) -> None:
        """Wait until Ray answers; what interrupts this leaves the rest to the guard.

        Raises:
            EnvironmentProblem: it does not start, or the address does not answer.
        """
        ray.shutdown()  # one that this process has left before
        self._guard = _guard(self._scratch)
        threading.Thread(target=self._serve, name="ray", daemon=True).start()
        try:
            while not self._started.done():  # a wait without an end is not always woken by Ctrl-C
                concurrent.futures.wait([self._started], timeout=_PAUSE)
            self._started.result()
        except Exception as error:
            address = self._address
            where = f"the Ray cluster at {address}" if address else "Ray on this machine"
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.stop()
            raise EnvironmentProblem(
                f"{where} does not answer: {first.rstrip('.')}; `platform doctor` says more."
            ) from error

    def check(self) -> None:
        """See that what was started is still there; Ray itself waits up to a minute to say so.

        Raises:
            EnvironmentProblem: it is not.
        """
        for process in self._processes:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise EnvironmentProblem(RAY_DIED)

    def stop(self) -> None:
        """End Ray, or leave the cluster, and remove the scratch folder."""
        ray.shutdown()
        self._stopped.set()
        os.environ.pop(VARIABLE, None)
        assert self._guard.stdin is not None
        self._guard.stdin.close()

    def _serve(self) -> None:
        own: dict[str, object] = {"include_dashboard": False, "_temp_dir": f"{self._scratch}/ray"}
        try:
            _knock(self._address)
            logging.getLogger("ray").setLevel(logging.CRITICAL)  # before it reads `logging_level`
            with _elsewhere(f"{self._scratch}/here"), _in_less_time():
                _patiently(
                    lambda: ray.init(
                        address=self._address or "local",
                        log_to_driver=False,
                        logging_level=logging.CRITICAL,
                        **({} if self._address else own),
                    )
                )
            if not self._address:
                children = psutil.Process().children()
                self._processes = [p for p in children if p.name() in ("raylet", "gcs_server")]
        except Exception as error:
            self._started.set_exception(error)
        else:
            self._started.set_result(None)
        self._stopped.wait()


def _patiently(start: Callable[[], object]) -> None:
    """Start Ray; where its server opens no port in a while, once more and with more time.

    All of Python stands still while Ray waits for that. A signal to the whole process group ends
    the server too, and would be heard only after the 30 seconds that Ray has for it.
    """
    if _PORT_WAIT in os.environ:
        start()
        return
    try:
        os.environ[_PORT_WAIT] = "4"
        start()
    except RuntimeError as error:
        if "Timed out waiting for file" not in str(error):
            raise
        for process in psutil.Process().children():
            if process.name() == "gcs_server":
                process.kill()
        os.environ[_PORT_WAIT] = "30"
        start()
    finally:
        del os.environ[_PORT_WAIT]


@contextlib.contextmanager
def _elsewhere(folder: str) -> Iterator[None]:
    """In a new empty folder for a while; where the process was may have been deleted.

    Ray's workers import what lies in the folder where Ray was started: a user's finch.py would
    stand for the package of that name.
    """
    os.mkdir(folder)
    if path := os.environ.get("PYTHONPATH"):  # of which relative entries would mean something else
        entries = [os.path.abspath(entry) for entry in path.split(os.pathsep) if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


@contextlib.contextmanager
def _in_less_time() -> Iterator[None]:
    """Ray of one's own starts without what it has no option for.

    Of its processes one copies what workers print to a driver that wants none of it, one asks a
    cloud for more machines, and without a dashboard the dashboard's server counts Ray's users. Each
    takes half a second of CPU time and 80 MB, and the last one is waited for. And Ray looks once a
    second whether its node is there; here it is looked at ten times as often. In a version of Ray
    that starts otherwise all this is there, and does no harm.
    """

    def leave_out(node: Node, **_: object) -> None:
        pass

    def start(node: Node) -> None:
        before["start_ray_processes"](node)
        with contextlib.suppress(Exception):  # Ray itself goes on to look, and says what is wrong
            services.wait_for_node(node.gcs_address, node.plasma_store_socket_name, _NODE_WAIT)

    instead = {
        "start_log_monitor": leave_out,
        "start_monitor": leave_out,
        "start_api_server": leave_out,
        "start_ray_processes": start,
    }
    before = {name: getattr(Node, name) for name in instead if hasattr(Node, name)}
    for name in before:
        setattr(Node, name, instead[name])
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


def _guard(scratch: str) -> subprocess.Popen[bytes]:
    """A process that ends all that is started from now on once this process has ended.

    Most of Ray's processes follow a killed command within seconds, but its agents, and workers that
    are just starting, can outlive it by minutes. The guard waits on a pipe that closes with this
    process, or before.
    """
    waiting = subprocess.Popen(
        [sys.executable, "-P", "-m", "deep_clustering.platform.run._guard", scratch],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # who reads what the command says does not wait for the guard
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is not for it
    )
    os.environ[VARIABLE] = scratch  # inherited by whatever is started
    return waiting


def _knock(address: str | None) -> None:
    """Raises OSError when nobody listens at host:port; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()
