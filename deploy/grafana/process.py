"""The dashboard of the processes: which version runs, memory, CPU, descriptors, restarts, and what expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .panels import GREEN, GREY, RED, THIRD, YELLOW, Query, increase, lines, number, rate, rows, series, total

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

NAME, TITLE = "process", "MNIST: processes"
DESCRIPTION = "Versions, memory, CPU time, descriptors, restarts and reloads of workers and readers."

DAY = 86_400
MEMORY, CPU, DESCRIPTORS = "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"
WORKER, READERS = 'process="worker"', 'process=~"reader|large_reader"'
EVENTS = [(None, GREEN), (0.5, YELLOW)]  # a number of things that should not happen


def panels() -> dict[str, list[Builder[Panel]]]:
    """Return the panels by the titles of their rows."""
    return {
        "At a glance": _glance(),
        "Versions": _versions(),
        "Memory": _memory(),
        "CPU and descriptors": _resources(),
        "Ends and losses": _ends(),
    }


def _glance() -> list[Builder[Panel]]:
    certificate = f"min({series('certificate_expiry_timestamp_seconds')} > 0) - time()"
    return [
        number(
            "Memory",
            "Resident memory of all processes. Memory that several share counts in each.",
            total(series(MEMORY)),
            "bytes",
        ),
        number("CPU", "Cores that all processes use.", total(rate(CPU)), "none", decimals=2),
        number(
            "Restarts",
            "Workers that ended unasked and were replaced, in the range shown.",
            total(increase("worker_restarts_total")),
            "short",
            steps=EVENTS,
            decimals=0,
        ),
        number(
            "Log lines lost",
            "Log lines in the range shown that nobody read in time.",
            total(increase("log_lines_dropped_total")),
            "short",
            steps=EVENTS,
            decimals=0,
        ),
        number(
            "Certificate expires in",
            "Time until the certificate of HTTPS and gRPC expires.",
            certificate,
            "s",
            steps=[(None, RED), (3 * DAY, YELLOW), (21 * DAY, GREEN)],
            none="no TLS",
        ),
        number(
            "A key expires in",
            "Time until the next API key with a last day expires; the next that has not expired yet.",
            f"min(({series('api_key_expiry_timestamp_seconds')} - time()) > 0)",
            "s",
            steps=[(None, RED), (3 * DAY, YELLOW), (14 * DAY, GREEN)],
            none="no key does",
        ),
    ]


def _versions() -> list[Builder[Panel]]:
    columns = {
        "instance": "Instance",
        "version": "Service",
        "model_version": "Model version",
        "model_sha256": "SHA-256 of the model",
    }
    return [
        rows("What serves", "Versions of the service and of the model, by instance.", series("build_info"), columns),
        number(
            "Served for",
            "Time since the served version was loaded.",
            f"time() - max({series('model_load_timestamp_seconds')})",
            "s",
            none="no model",
            height=6,
        ),
        number(
            "Last run",
            "Time since the model last ran.",
            f"time() - max({series('last_inference_timestamp_seconds')} > 0)",
            "s",
            none="never",
            height=6,
        ),
        number(
            "Missing version",
            "Version that the pin or the canary file names and that is not there; 0: none.",
            f"max({series('model_missing_version')})",
            "none",
            steps=EVENTS,
            height=6,
        ),
    ]


def _memory() -> list[Builder[Panel]]:
    return [
        lines(
            "Memory by worker",
            "Resident memory of each worker process. A number keeps its meaning when a worker is replaced.",
            "bytes",
            Query(total(series(MEMORY, WORKER), "instance, worker"), "{{instance}} worker {{worker}}"),
            span=THIRD,
        ),
        lines(
            "Memory of readers by worker",
            "Resident memory of the processes that read bodies and pictures, with that of the large reader.",
            "bytes",
            Query(total(series(MEMORY, READERS), "instance, worker"), "{{instance}} worker {{worker}}"),
            span=THIRD,
        ),
        lines(
            "Memory by kind of process",
            "Over all instances.",
            "bytes",
            Query(total(series(MEMORY), "process"), "{{process}}"),
            span=THIRD,
            stacked=True,
        ),
    ]


def _resources() -> list[Builder[Panel]]:
    return [
        lines(
            "CPU by worker",
            "Cores that each worker and its readers use.",
            "none",
            Query(total(rate(CPU, 'process=~"worker|reader"'), "instance, worker"), "{{instance}} worker {{worker}}"),
            span=THIRD,
        ),
        lines(
            "CPU by kind of process",
            "Cores, over all instances. reader includes the large reader.",
            "none",
            Query(total(rate(CPU), "process"), "{{process}}"),
            span=THIRD,
            stacked=True,
        ),
        lines(
            "Descriptors by worker",
            "Open descriptors of each worker process: connections, files and pipes.",
            "short",
            Query(total(series(DESCRIPTORS, WORKER), "instance, worker"), "{{instance}} worker {{worker}}"),
            span=THIRD,
        ),
    ]


def _ends() -> list[Builder[Panel]]:
    return [
        lines(
            "Loads of a version",
            "By each worker. failure: the version was refused.",
            "short",
            Query(total(series("model_reloads_total"), "result"), "{{result}}"),
            span=THIRD,
        ),
        lines(
            "Worker restarts",
            "Since the start. exit: with an exit code. signal: by a signal, as for lack of memory. hang: it was stuck.",
            "short",
            Query(total(series("worker_restarts_total"), "reason"), "{{reason}}"),
            span=THIRD,
        ),
        lines(
            "Readers that ended during a job",
            "A second. time: a picture took too long. lost: killed, or for lack of memory.",
            "cps",
            Query(total(rate("reader_ends_total"), "reason"), "{{reason}}"),
            span=THIRD,
        ),
        lines(
            "Log lines and spans lost by instance",
            "A second. Log lines that nobody read in time, and spans of traces that the collector did not take.",
            "cps",
            Query(total(rate("log_lines_dropped_total"), "instance"), "lines {{instance}}"),
            Query(total(rate("spans_lost_total"), "instance"), "spans {{instance}}"),
        ),
        lines(
            "File of API keys",
            "1 while it cannot be read: the keys from before stay.",
            "none",
            Query(f"max by (instance) ({series('api_keys_unreadable')})", "{{instance}}"),
            most=1,
            steps=[(None, GREY), (1, RED)],
        ),
    ]
