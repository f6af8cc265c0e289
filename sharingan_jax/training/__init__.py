"""The training loop and what surrounds it: setup, schedule, recorder, signals, verification.

All effects of a run start here."""
