"""Decide which version of the model serves: the choice of operators, loading, changes while the service runs, a canary.

In: a model's folder, and what operators choose. Out: the classifier that serves, and the canary. It knows no request.
"""
