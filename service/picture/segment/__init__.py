"""Find the digit in a picture: subtract the background, remove ruled lines and boxes, select components.

In: upright pixels, `uint8[H, W]` or `uint8[H, W, 3]`. Out: a `Digit`: its strokes as a mask `bool[h, w]`, and where
they were. It knows neither file formats nor MNIST's format: of the room it imports `service.picture.geometry` alone.
"""
