package knot

type middle struct{ Depth int }

// Close calls a method.
func (r *Responder) Close() { r.Use(nil) }

// Again is its third.
func (r *Responder) Again() {}
