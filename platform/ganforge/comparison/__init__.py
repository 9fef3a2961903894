"""A page that compares the images of many runs: collected from their records, cut, shown, judged."""
