package knot

// below is named by others, and names nobody.
const below = 1
