from tests.evaluators.conftest import bare, site, tree

__all__ = ["bare", "site", "tree"]
