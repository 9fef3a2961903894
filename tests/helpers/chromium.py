"""The system's Chromium: tests drive no other browser."""

import shutil

#: its path; empty where there is none
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
