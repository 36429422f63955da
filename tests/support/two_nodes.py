"""A Ray cluster of two nodes on this machine, each with one CPU.

    python -m support.two_nodes

prints its address; kills the second node at "kill", adds another at "add", and ends when there are
no more lines.
"""

import sys

import ray
from ray.cluster_utils import Cluster


def main() -> None:
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line == "kill\n":
            cluster.remove_node(second, allow_graceful=False)
        else:
            second = cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes()
        print(line, end="", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
