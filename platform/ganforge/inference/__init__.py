"""Use of a trained generator: pictures in and out, in tiles; benchmarks; files for elsewhere."""
