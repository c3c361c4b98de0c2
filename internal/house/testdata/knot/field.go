package knot

// holder gets its depth from a type that it embeds.
type holder struct{ middle }
