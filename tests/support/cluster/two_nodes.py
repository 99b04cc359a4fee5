"""A Ray cluster of two nodes that runs examples/ray_serve.py. Runs in an environment that has `ray`.

python two_nodes.py PORT

Prints its address and the node of each replica, as JSON. After a line on stdin it kills the node that has no proxy, and
prints another line; at the end of stdin, it ends the cluster.
"""

from __future__ import annotations

import json
import os
import sys

import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.context import _get_global_client

from examples.ray_serve import app

NODE = {"num_cpus": 2, "object_store_memory": 200 * 2**20, "include_dashboard": False}


def nodes() -> list[str]:
    """The node of each replica."""
    (deployment,) = _get_global_client().get_serve_details()["applications"]["default"]["deployments"].values()
    return [replica["node_id"] for replica in deployment["replicas"]]


def main(port: str) -> None:
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # to which Ray prints, too
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    other = cluster.add_node(**NODE)
    ray.init(address=cluster.address, log_to_driver=False)
    # The nodes have one address, and so there is one proxy.
    serve.start(http_options={"port": int(port), "location": "HeadOnly"})
    serve.run(app)
    print(json.dumps({"address": cluster.address, "nodes": nodes()}), file=reports, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(other, allow_graceful=False)
        print("killed", file=reports, flush=True)
    for node in cluster.list_all_nodes():
        node.kill_all_processes(check_alive=False, allow_graceful=True)  # its agents end with it
    os._exit(0)  # Ray would wait for the nodes


if __name__ == "__main__":
    main(*sys.argv[1:])
