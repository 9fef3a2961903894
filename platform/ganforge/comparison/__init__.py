"""The images of many runs on one page: collected from their records, cut, shown, judged."""
