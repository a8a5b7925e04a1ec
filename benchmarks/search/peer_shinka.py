"""One run of shinka-evolve with its defaults. Runs inside a virtual environment that has it (beside.py starts it).

    python peer_shinka.py PROGRAM EVALUATOR BASE_URL EVALUATIONS SEED FOLDER

Left at their defaults: everything but the models (the scripted one for mutations, its embeddings for novelty), the number
of generations, and the random state, which shinka takes from the process.
"""

from __future__ import annotations

import random
import sys

import numpy as np
from shinka.core import EvolutionConfig, ShinkaEvolveRunner
from shinka.database import DatabaseConfig
from shinka.launch import LocalJobConfig


def main(words: list[str]) -> int:
    program, evaluator, url, evaluations, seed, folder = words
    random.seed(int(seed))
    np.random.seed(int(seed))
    settings = EvolutionConfig(
        num_generations=int(evaluations) + 1,  # the initial program is generation 0
        llm_models=[f"local/scripted@{url}"],
        embedding_model=f"local/scripted-embedding@{url}",
        init_program_path=program,
        results_dir=folder,
    )
    runner = ShinkaEvolveRunner(
        evo_config=settings,
        job_config=LocalJobConfig(eval_program_path=evaluator),
        db_config=DatabaseConfig(db_path="evolution.sqlite"),
        verbose=False,
    )
    runner.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
