"""Imported by a launcher in a test: asks torch whether there is a GPU, which spoils it for every process forked later."""

import torch

torch.cuda.is_available()
