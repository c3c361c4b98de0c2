package knot

// pair is generic: its fields are those of its origin.
type pair[T any] struct{ first, second T }

func (p pair[T]) deep(h holder) int { return h.Depth }
