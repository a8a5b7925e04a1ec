"""The library's own benchmark: prints the CPU seconds of the best of five rounds."""

import random
import time

from nearest import nearest

rng = random.Random(1)
points = [(rng.random(), rng.random()) for _ in range(600)]
queries = [(rng.random(), rng.random()) for _ in range(60)]
rounds = []
for _ in range(5):
    began = time.process_time()
    nearest(points, queries)
    rounds.append(time.process_time() - began)
print(f"seconds: {min(rounds):.6f}")
