-- GETs for wrk, one path after the other, each with a tag that the client has, or without. Counts answers by status.
--
--     wrk --threads 1 … --script get.lua URL -- PATH TAG PATH TAG …      (TAG "-": none)

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    requests, at, whole, unchanged, other = {}, 0, 0, 0, 0
    for n = 1, #arguments, 2 do
        local head = { ["Host"] = "localhost" }
        if arguments[n + 1] ~= "-" then
            head["If-None-Match"] = arguments[n + 1]
        end
        table.insert(requests, wrk.format("GET", arguments[n], head))
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function response(status)
    if status == 200 then
        whole = whole + 1
    elseif status == 304 then
        unchanged = unchanged + 1
    else
        other = other + 1
    end
end

function done(summary)
    local sums = { whole = 0, unchanged = 0, other = 0 }
    for _, thread in ipairs(threads) do
        for name in pairs(sums) do
            sums[name] = sums[name] + thread:get(name)
        end
    end
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    local line = 'FIGURES {"whole":%d,"unchanged":%d,"other":%d,"broken":%d,"bytes":%d,"seconds":%f}\n'
    io.write(line:format(sums.whole, sums.unchanged, sums.other, broken, summary.bytes, summary.duration / 1e6))
end
