"""The service's own routes: predictions, health, model card, metrics, the page, and the API's documentation.

In: requests. Out: responses. `service.v2` has the routes of the Open Inference Protocol.
"""
