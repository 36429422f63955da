"""Sizes of clusters, and what they are flagged for."""

import numpy as np

from deep_clustering.platform.metrics import partition


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def one_hot(cluster, clusters, confidence=1.0):
    cluster = np.asarray(cluster)
    p = np.full((len(cluster), clusters), (1 - confidence) / max(clusters - 1, 1))
    p[np.arange(len(cluster)), cluster] = confidence
    return p


def test_flags():
    assert partition.flags(one_hot([0] * 10, 3)) == [
        "collapsed",
        "empty_clusters",
        "constant_confidence",
    ]
    assert partition.flags(one_hot([0] * 91 + [1, 2, 1, 2, 1, 2, 1, 2, 1], 3))[0] == "collapsed"
    assert "collapsed" not in partition.flags(one_hot([0] * 90 + [1] * 5 + [2] * 5, 3))
    p = softmax(np.random.default_rng(0).normal(size=(200, 4)))
    assert partition.flags(p) == []
    assert partition.flags(p[p.argmax(1) != 2]) == ["empty_clusters"]


def test_cluster_sizes_count_empty_clusters():
    assert partition.cluster_sizes(one_hot([0, 2, 2], 4)).tolist() == [1, 0, 2, 0]
