"""Unpack, parse and decode untrusted bytes in reader processes beside each worker.

In: bodies that are large, compressed, or hold pictures to decode. Out: 784 pixels for each picture, or its error. A
reader has little memory, and little time for each picture. Beyond that it ends, and another reader replaces it, so that
neither the event loop nor other clients nor the shutdown ever wait for it.

    readers      in the worker: which job runs when, and what happens to a job whose reader has ended
    processes    in the worker: how many readers there are
    handle       in the worker: one reader, and the job that it has
    fork_server  in the worker: the process that forks readers
    token        in the worker: at most one large reader in all workers
    results      both sides: prepared pictures and errors as messages
    wire         both sides: messages over a socket, with a body inline or as a file descriptor
    __main__     the fork server's process: forks a reader for each socket that it receives
    jobs         in the reader: bodies to pictures, and pictures to pixels

It knows the formats of bodies and pictures, but no route, no model and no key.
"""
