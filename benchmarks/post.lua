-- wrk sends one picture again and again: wrk -s post.lua URL -- BODY_FILE CONTENT_TYPE
-- It says at the end, on one line for benchmarks/serving.py: requests, seconds, errors, p50 and p99 in milliseconds.
function init(args)
    local file = assert(io.open(args[1], "rb"))
    wrk.method = "POST"
    wrk.body = file:read("*a")
    wrk.headers["Content-Type"] = args[2]
    file:close()
end

function done(summary, latency, requests)
    local errors = summary.errors
    print(string.format("RESULT %d %.6f %d %.3f %.3f", summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
