"""Read and write the bodies of requests: JSON, multipart forms, base64, tensors of the Open Inference Protocol.

In: bytes, and limits. Out: encoded pictures or arrays, or one error. It decodes no picture and opens no socket.
"""
