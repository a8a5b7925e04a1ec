"""One run of openevolve with its defaults. Runs inside a virtual environment that has it (beside.py starts it).

    python peer_openevolve.py PROGRAM EVALUATOR BASE_URL EVALUATIONS SEED FOLDER

Left at their defaults: everything but the model, the number of iterations and the random seed.
"""

from __future__ import annotations

import logging
import sys

from openevolve.api import run_evolution
from openevolve.config import Config, LLMModelConfig


def main(words: list[str]) -> int:
    program, evaluator, url, evaluations, seed, folder = words
    config = Config()
    config.random_seed = config.database.random_seed = int(seed)
    config.log_level = "WARNING"
    model = {"name": "scripted", "api_base": url, "api_key": "none", "weight": 1.0}
    config.llm.models = [LLMModelConfig(**model)]
    config.llm.evaluator_models = [LLMModelConfig(**model)]
    shared = ("temperature", "top_p", "max_tokens", "timeout", "retries", "retry_delay", "system_message")
    config.llm.update_model_params({key: getattr(config.llm, key) for key in shared} | {"random_seed": int(seed)})
    logging.disable(logging.WARNING)
    run_evolution(program, evaluator, config, iterations=int(evaluations), output_dir=folder, cleanup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
