// Package simulation runs Responders in a world that replays from one number.
//
// All that a Responder calls is implemented over one scheduler: the store, the signer, the remote
// cache, the change feed and the clock. A world is a bubble of testing/synctest. Each call blocks
// until the scheduler lets it go on, with a result, an old value, an error, a panic, or never. One
// call goes on at a time, and the next one is chosen when all goroutines are blocked. So the seed
// determines the order of all calls, and what each of them returns.
//
// Goroutines that wake up at the same time are told apart by the clock: a request calls it between
// any two steps that others can see, and so it stops there, and the scheduler chooses who goes on.
// Calls that arrive together are sorted by the request that they are made for, which a context or
// the goroutine has. What else differs from run to run is made to make no difference: see
// [world.choose] for the hash of package statuses, and world.draw for random numbers.
//
// What clients saw is checked by package porcupine against the models in model_test.go, and the
// answers are read by golang.org/x/crypto/ocsp.
package simulation
