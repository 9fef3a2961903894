"""Checks of machines, clusters and cluster files before anything is started on them."""
