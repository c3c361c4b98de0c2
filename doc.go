/*
Package ocsp is an OCSP responder (RFC 6960, with the nonces of RFC 9654 and the lightweight profile of RFC 9919)
that a key management server or private CA embeds.

A [Responder] is made of a [CertStore], which knows the state of each certificate, and of one or more issuers,
each a CA certificate and the [crypto.Signer] that answers for it. It hands back an [http.Handler] that any
server mounts behind its own middleware:

	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "ca-uid", Certificate: caCert, Signer: caKey}},
		Store:   store,
	})
	if err != nil {
		return err
	}
	defer responder.Close()
	handler := ocsp.Mount("/ocsp", auth(responder.Handler()), mux)

When the KMS has stored a revocation it may say so; without that, the next answer finds out by itself:

	err = responder.Invalidate(ctx, "ca-uid", serial)

# Status

PreActive and Active certificates are good. Compromised and DestroyedCompromised ones are revoked for
keyCompromise, Deactivated and Destroyed ones for cessationOfOperation, unless the record has a reason of its
own. A serial that the issuer never issued is unknown; see [UnissuedPolicy]. A store that fails
becomes no status: a cached answer stands in until its nextUpdate, unless CacheOptions.FailClosed is set, and otherwise the
client gets the error tryLater.

# Freshness

Config.Validity says how long a signed answer may be believed; CacheOptions.StatusTTL how long a status read
from the store is trusted. With the default, zero, every answer reads the store, which costs no signature: the
cached answer is served if it says what the store says, and a new one is signed if not. So the very next
answer after a revocation says revoked, whoever wrote it. With a StatusTTL it does so at once after
[Responder.Invalidate], and else when that has passed.

Answers say since when their status is known: thisUpdate is when the read of the store began. They are signed anew from
their refresh point on, half their validity when that is below 16 h, about what the store says then, also if a StatusTTL
is longer. While the signer or the store fails, a cached answer is served until its nextUpdate, and no longer.

# Testing

Package ocsptest has a throwaway CA, a store whose records a test sets, a clock, and a client.
*/
package ocsp
