package knot

// above names a file of the knot that does not name it.
func above() { new(Responder).Use(nil) }
