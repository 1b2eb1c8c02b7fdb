"""How many examples a random search tries: few and always the same ones, or ten times as many and new ones each time.

`make test` must not fail by luck, so its searches are derandomized; a case that was found is kept as an `@example`.
`make test-full` chooses the profile `wide`, which looks further and prints how to see a failure again.
"""

from hypothesis import HealthCheck, settings

FEW, MANY = 100, 1000
# How fast examples are made says how busy the machine is, not whether the code is right.
_UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("few", _UNHURRIED, max_examples=FEW, derandomize=True, database=None)
settings.register_profile("wide", _UNHURRIED, max_examples=MANY, print_blob=True)


def examples(number: int, **others) -> settings:
    """Settings of a search that tries `number` examples in `make test`, and its profile's share of that elsewhere."""
    return settings(max_examples=number * settings.default.max_examples // FEW, **others)
