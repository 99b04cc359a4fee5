"""Turn pixels into probabilities: admission, batching, the canary's router, and the shadow.

In: the pictures of one request. Out: their results, and the version that predicted them.
"""
