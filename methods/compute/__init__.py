"""What any computation stands on: processes, streams of random numbers, streams of a GPU.

`replicas` are the processes that share a batch, `random` derives independent generators from one
seed, `aside` is work beside the main stream of a GPU. Imports PyTorch and no other room.
"""
