"""Turn somebody's picture into the network's input: decode it, find the digit, bring it into MNIST's format.

In: bytes of a PNG or JPEG. Out: `uint8[28, 28]`, light ink on dark. It knows neither requests nor the model.
"""
