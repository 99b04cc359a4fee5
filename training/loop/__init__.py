"""The training loop: epochs of augmented batches, on one process or several, with checkpoints that resume exactly.

In: a network or its teacher, `Digits` and a `Config`. Out: the network, trained in place, and the facts of each epoch.
Knows no export and no report.
"""
