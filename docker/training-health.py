"""Ends with 0 where this worker of a training listens at its address, or where it trains alone; see TF_CONFIG."""

import sys

from model.cluster import Cluster, absent

cluster = Cluster.from_environment()
sys.exit(1 if cluster.addresses and absent(cluster, [cluster.index]) else 0)
