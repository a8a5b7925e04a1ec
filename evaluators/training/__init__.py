"""Language-model training as a task: data, tracks, the supervised run, its score. Nothing here imports torch at load.

bpe, corpus, bins, packing   text and tokens into rows          fetch, prepare   bring the data here
tracks                       the declared settings              screen           what may be in a source
harness                      the trainer's side, in the jail    supervisor       the referee's side
scoring                      loss from logits, the probes       noise, curves    noise floor, early stopping
evaluator                    the `training` evaluator           speedrun         significance, logs, record folder
"""
