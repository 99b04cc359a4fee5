"""How good a network or a published version is: metrics of MNIST, and the table of handwriting and of no digits.

In: probabilities and labels, or a version's folder and pictures. Out: numbers. Knows no training loop.
"""
