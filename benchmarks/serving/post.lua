-- wrk sends one body again and again: wrk -s post.lua URL -- BODY_FILE RATE [HEADER VALUE]...
-- RATE is requests per second over all connections of the one thread; 0: each connection as fast as it is answered.
-- It says at the end, on one line for load.py: requests, seconds, errors, p50 and p99 in milliseconds.
local ffi = require("ffi")
ffi.cdef("typedef struct { long s, ns; } instant; int clock_gettime(int clock, instant *now);")
local MONOTONIC = 1

local function seconds()
    local now = ffi.new("instant")
    ffi.C.clock_gettime(MONOTONIC, now)
    return tonumber(now.s) + tonumber(now.ns) / 1e9
end

function init(args)
    local file = assert(io.open(args[1], "rb"))
    wrk.method = "POST"
    wrk.body = file:read("*a")
    file:close()
    for i = 3, #args, 2 do
        wrk.headers[args[i]] = args[i + 1]
    end
    local rate = tonumber(args[2])
    if rate > 0 then
        local due = seconds()
        -- wrk waits so many milliseconds before each request; requests that are due already are sent at once.
        function delay()
            due = due + 1 / rate
            return math.max(0, math.floor((due - seconds()) * 1000))
        end
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    print(string.format("RESULT %d %.6f %d %.3f %.3f", summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
