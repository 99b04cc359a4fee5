"""The multilayer perceptron and its fixed layers, the same function folded into the fewest nodes, and its teacher.

In: images, uint8[N,1,28,28]. Out: logits or probabilities, float32[N,10]. Knows no data set, schedule or file.
"""
