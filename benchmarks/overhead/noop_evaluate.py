"""An evaluator for the peers that measures nothing: a made-up score that is a function of the program, at once.

openevolve imports it and calls `evaluate(path)`; shinka runs it with --program_path and --results_dir. EVOLVE_BENCH_LOG gets
the time of each evaluation. Standard library only, so that shinka's start of a process is all that it costs.
"""

import hashlib
import json
import os
import sys
import time


def evaluate(path):
    with open(path, "rb") as file:
        score = hashlib.sha256(file.read()).digest()[0] / 256
    with open(os.environ["EVOLVE_BENCH_LOG"], "a", encoding="ascii") as log:
        log.write(f"{time.time():.4f}\n")
    return {"combined_score": score}


if __name__ == "__main__":
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    os.makedirs(options["--results_dir"], exist_ok=True)
    found = evaluate(options["--program_path"]) | {"public": {}, "private": {}}
    for name, content in (("metrics", found), ("correct", {"correct": True, "error": ""})):
        with open(os.path.join(options["--results_dir"], f"{name}.json"), "w", encoding="ascii") as file:
            json.dump(content, file)
