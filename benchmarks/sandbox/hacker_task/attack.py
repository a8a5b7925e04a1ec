from moves import *  # noqa: F403

PLAN = [("call", "read_secret")]


def value(facts):
    return perform(PLAN, facts)  # noqa: F405
