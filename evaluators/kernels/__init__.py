"""GPU kernels: problems in SOL-ExecBench's format, judged by a referee outside the candidate's process.

    definition, formats, pack     what is asked          inputs, compare       values and tolerances
    bounds, baseline, score       what an answer is worth
    referee, worker, launch       one call at a time, secret inputs, two clocks
    screen, checks, judge         evidence in, verdict out (pure)
    evaluator, feedback           the spine's Evaluator; facts for the next mutation

The core imports the standard library, numpy, torch and triton only (torch lazily where a page of text will do).
"""
