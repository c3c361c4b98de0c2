package knot

// Responder names the file of what it holds.
type Responder struct{ pair pair[int] }

// Use names a field through a value whose type it does not name.
func (r *Responder) Use(h *holder) int { return r.pair.first + below }
