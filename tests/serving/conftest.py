"""How hypothesis runs here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Times on a shared machine say nothing about the code: the test's own time limit is enough.
settings.register_profile("serving", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("serving")
