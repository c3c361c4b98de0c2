-- Sends the requests in a file, each after its length and a line's end, one after the other.
local requests, i = {}, 0

function init(args)
	local file = assert(io.open(args[1], "rb"))
	while true do
		local n = file:read("*n")
		if not n then break end
		file:read(1)
		requests[#requests + 1] = file:read(n)
	end
	file:close()
end

function request()
	i = i % #requests + 1
	return requests[i]
end
