"""Find the digit in a picture: its background, ruled lines, and the components that belong to it.

In: pixels, `uint8[H, W]` or `uint8[H, W, 3]`. Out: the strength of the digit's ink, `float32[h, w]`, or nothing.
"""
