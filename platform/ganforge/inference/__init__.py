"""Use of a trained generator: images in and out, in tiles; benchmarks; export to other runtimes."""
