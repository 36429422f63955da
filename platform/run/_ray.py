"""Ray's environment. Ray reads it when it is imported, so `prepare` comes before that."""

import os
import secrets
import sys
from typing import NoReturn

from deep_clustering.platform.places import settle_home


def prepare(address: str | None) -> None:
    """Quiet, offline, and a cluster of our own behind a secret that only its processes know.

    Args:
        address: of the user's cluster, which keeps its own way to authenticate; None: our own.
    """
    settle_home()
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that outlives the session starts no other Ray
        "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it answers SIGTERM with a dump of the stack
        # Ray's node and its store start side by side; where one is late it is tried again for ten
        # seconds, but not only once a second.
        "RAY_raylet_client_connect_timeout_milliseconds": "50",
        "RAY_raylet_client_num_connect_attempts": "200",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a dead worker is noticed
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are never read
    }.items():
        os.environ.setdefault(name, value)
    if "OMP_WAIT_POLICY" not in os.environ:
        # Threads of PyTorch that wait for each other spin for some 30 microseconds, and then sleep.
        # By default they spin on: beside other work a run took five times its CPU time.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif "RAY_AUTH_TOKEN" in os.environ or os.path.exists(os.path.expanduser("~/.ray/auth_token")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `ray start` does


def leave(code: int) -> NoReturn:
    """End the process, hard where Ray is still there; see `session.Session.__exit__`.

    Other threads wait for Ray then, or are in the middle of its start; the guard ends it.
    """
    ray = sys.modules.get("ray")
    if code == 130 or (ray is not None and ray.is_initialized()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
