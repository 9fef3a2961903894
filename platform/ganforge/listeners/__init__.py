"""Listeners: what hears of a run's reports besides the tracking store."""
