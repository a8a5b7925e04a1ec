"""For each query the index of the nearest point, the lower index where two are as near."""

import math


def nearest(points, queries):
    found = []
    for query in queries:
        checked = [tuple(point) for point in points]
        for point in checked:
            if len(point) != len(query):
                raise ValueError("points and queries must have the same number of coordinates")
        distances = []
        for point in checked:
            total = 0.0
            for a, b in zip(point, query):
                total += (a - b) ** 2
            distances.append(math.sqrt(total))
        ranked = sorted(range(len(distances)), key=lambda index: (distances[index], index))
        best = ranked[0]
        for index in range(len(distances)):
            if distances[index] < distances[best]:
                best = index
        found.append(best)
    return found
