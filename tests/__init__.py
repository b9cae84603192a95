"""The tests. Everything random in them is Hypothesis's, on a profile that does not mind a busy machine."""

from hypothesis import HealthCheck, settings

# A shared machine may stop for a second at any time: no test is to fail for that.
settings.register_profile("voxray", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("voxray")
