"""How properties are tried: without a clock (machines are busy) and without a database of old examples."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "drorch", deadline=None, database=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("drorch")
