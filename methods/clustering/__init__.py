"""Clustering algorithms on points, and what they share."""
