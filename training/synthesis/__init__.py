"""Pictures as people send them, drawn by a program: digits in many pens, papers and lights, and what is not a digit.

In: a random generator, and maybe an MNIST digit to follow. Out: PNG or JPEG bytes, and a fixed set of such pictures as
`Digits`. Knows no network.
"""
