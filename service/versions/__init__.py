"""Choose which version of the model serves: the folder, loading, changes while the service runs, a canary.

In: a model's folder, and what operators ask for. Out: the classifier that serves. It knows no request.
"""
