"""Turn a picture into the network's input: decode it, find the digit, bring it into MNIST's format.

In: the bytes of a picture that a client sent, or grey pixels. Out: a `PreparedImage` (`uint8[28, 28]`, light ink on
dark), or an error that says why there is none. It knows neither requests nor the model: of the service it imports
`service.arrays` and `service.errors` alone.
"""
