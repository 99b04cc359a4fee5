"""Offline work: any number of pictures in, Parquet parts out, without a server.

In: folders, files, archives, Parquet files and buckets, and an output folder. Out: a row for each picture in the parts
of that folder, and a report of the batch's drift. It may be killed at any moment: the same command goes on after the
last part.

    block        prepared pictures → rows, by one run of the model; a pure function, for every engine
    preparing    bytes → prepared pictures, with the service's reader processes
    inputs       what the words of the command line stand for → entries, in a fixed order
    entries      pictures that are read when they are needed
    local, remote, archives, tables      each kind of input
    feeder       a process: reads entries, and hands their bytes over in blocks; its memory is limited
    worker       processes: prepare a block and predict it
    children     both, as their parent sees them
    engine       their parent: blocks to workers, rows to parts, in order
    on_ray       another one, on a Ray cluster, by Ray Data
    stopping     signals that stop it
    parts        the output folder: parts, each by one rename, and the file that merges them
    counts       parts → the counts of digits, errors and signals of drift
    report       counts → a page
    progress     lines for people
    run          the story of a batch, from its words to its summary

It knows no HTTP, and no request.
"""
