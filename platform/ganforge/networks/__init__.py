"""Published architectures as plain modules: they know nothing of settings, files or devices."""
