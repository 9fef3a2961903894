"""What issues ask to be shown, by subject; tests/acceptance.py runs it."""
