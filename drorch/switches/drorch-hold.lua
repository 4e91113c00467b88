-- Lets requests to a backend wait instead of failing: while drorch holds them in a planned switchover, and for up to
-- half a minute while no server of that backend is up. Kept-alive connections wait as well, and nothing is refused.
--
-- In haproxy.cfg:
--     global
--         lua-load /etc/haproxy/drorch-hold.lua
--     frontend …
--         http-request lua.drorch_hold BACKEND
--
-- On the runtime socket: drorch hold BACKEND SECONDS, drorch release BACKEND, drorch held BACKEND.
-- A hold ends by itself after its seconds, whatever became of drorch.

local LONGEST = 30 -- seconds for which a request waits for a server
local PAUSE = 10 -- milliseconds between two looks

local held = {} -- by backend: until when

local function now()
    local time = core.now()
    return time.sec + time.usec / 1000000
end

local function left(backend)
    return math.max(0, (held[backend] or 0) - now())
end

core.register_action("drorch_hold", { "http-req" }, function(txn, backend)
    local enough = now() + LONGEST
    while left(backend) > 0 or (txn.f:nbsrv(backend) == 0 and now() < enough) do
        core.msleep(PAUSE)
    end
end, 1)

local function command(word, usage, act)
    core.register_cli({ "drorch", word }, usage, function(applet, _, _, backend, ...)
        if backend == nil or core.backends[backend] == nil then
            applet:send("no such backend\n")
        else
            applet:send(act(backend, ...) .. "\n")
        end
    end)
end

command("hold", "drorch hold BACKEND SECONDS : let requests wait at most so long", function(backend, seconds)
    local length = tonumber(seconds)
    if length == nil or length <= 0 then
        return "no such length"
    end
    held[backend] = now() + length
    return "held " .. backend
end)

command("release", "drorch release BACKEND : let requests go on", function(backend)
    held[backend] = nil
    return "free " .. backend
end)

command("held", "drorch held BACKEND : whether requests wait", function(backend)
    return (left(backend) > 0 and "held " or "free ") .. backend
end)
