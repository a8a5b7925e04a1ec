"""The library's own tests; a candidate must pass them before its speed is looked at."""

import random
import unittest

from nearest import nearest


class Nearest(unittest.TestCase):
    def test_against_the_definition(self):
        rng = random.Random(7)
        for size in (1, 2, 30):
            points = [(rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 9)) for _ in range(size)]
            queries = [(rng.random() * 9, rng.random() * 9, rng.random() * 9) for _ in range(20)]
            expected = [
                min(range(size), key=lambda i: (sum((a - b) ** 2 for a, b in zip(points[i], query)), i))
                for query in queries
            ]
            self.assertEqual(nearest(points, queries), expected)

    def test_mixed_dimensions_are_refused(self):
        with self.assertRaises(ValueError):
            nearest([(0.0, 0.0), (1.0,)], [(0.0, 0.0)])


if __name__ == "__main__":
    unittest.main()
