"""Parse the bodies of requests and encode those of responses: forms, JSON, base64, the Open Inference Protocol.

In: bytes with their media type, and limits; or probabilities. Out: encoded pictures, pixels or the bytes of a response;
or an error. It does not decode pictures: of the picture room it imports `service.picture.formats` alone. It knows
neither routes nor the model.
"""
