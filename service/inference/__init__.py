"""Turn pixels into probabilities, fairly and in time: admission, batches, the router of a canary, the shadow.

In: pictures of one request. Out: their results, and the version that they come from. It knows no route.
"""
