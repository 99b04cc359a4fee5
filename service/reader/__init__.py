"""Strangers' bytes, unpacked, parsed and decoded in a process of their own beside each worker.

In: bodies that are large, compressed, or hold pictures to be decoded. Out: 784 pixels for each picture, or its error.
The process has little memory and little time for each picture; when it goes over, it ends, and another one takes its
place, so that neither the event loop nor other clients nor the shutdown ever wait for it.

    readers      in the worker: which job runs when, and what becomes of a job whose process has ended
    fork_server  in the worker: starts the process that forks readers, and hears how they end
    results      both sides: a prepared picture and an error as messages
    wire         both sides: messages over a socket, with a body inline or as a file descriptor
    __main__     the fork server's process: forks a reader for each socket that it is sent
    jobs         in the reader: a job's body to pictures, and pictures to pixels
    compression  in the reader: a body without its Content-Encoding

It knows the forms of bodies and pictures. It knows no route, no model and no key.
"""
