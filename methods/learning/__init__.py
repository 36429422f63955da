"""What trains: a learner, its state, its randomness, the processes that share a batch."""
