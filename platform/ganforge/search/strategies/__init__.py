"""Which trial trains on and which stops: pure rules over what was reported."""
