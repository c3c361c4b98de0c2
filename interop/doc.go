// Package interop has no code but its tests: real clients ask a real responder, one file for each client.
// docs/INTEROP.md tells how to run them and what they send.
package interop
