"""Clustering algorithms on points, in NumPy and PyTorch, and what they share.

`kmeans` and `fcm` are the algorithms that deep methods call as well, `batches` and `programs` the
k-means of every batch of a training on a GPU, `pac_kernels` the compiled loops of PAC, `points` the
preparation and timing that all methods on points share, `components` their principal components.
Imports no other room.
"""
