/*
Package ocsp is an OCSP responder to embed in a key management server (KMS) or a private CA. It
implements RFC 6960 with the nonces of RFC 9654 and the lightweight profile of RFC 9919.

A [Responder] has a [CertStore], which returns the state of each certificate, and one or more
issuers. An issuer is a CA certificate and the [crypto.Signer] that signs answers for it.
Responder.Handler returns an [http.Handler] that any server mounts behind its own middleware:

	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{{ID: "ca-uid", Certificate: caCert, Signer: caKey}},
		Store:   store,
	})
	if err != nil {
		return err
	}
	defer responder.Close()
	handler := ocsp.Mount("/ocsp", auth(responder.Handler()), mux)

When the KMS has stored a revocation it may call Invalidate. It need not: by default the next answer
reads the store.

	err = responder.Invalidate(ctx, "ca-uid", serial)

# Status

PreActive and Active certificates are good. Compromised and DestroyedCompromised ones are revoked
for keyCompromise, Deactivated and Destroyed ones for cessationOfOperation, unless the record has
its own reason. A serial that the issuer never issued is unknown; see [UnissuedPolicy]. A failing
store never changes a status. If it answers no call at all for CacheOptions.StorePatience, cached
answers are served until their nextUpdate, unless CacheOptions.FailClosed is set. If it fails for some
calls only, or if there is no cached answer, the client gets the error tryLater; see [ErrStoreBusy].

# Freshness

Config.Validity is how long a signed answer is valid. CacheOptions.StatusTTL is how long a status
read from the store is trusted. With the default, zero, every answer reads the store. That costs
no signature unless the status changed: if it did not, the cached answer is served. So the next
answer after a revocation is revoked, whichever program stored it. With a StatusTTL the revocation
takes effect with [Responder.Invalidate], and otherwise when the StatusTTL has passed.

thisUpdate is when the read of the status began. An answer past its refresh point, which is half of
its validity if that is below 16 h, is replaced by one about a new read of the store, even if a
StatusTTL is longer. While the signer fails, a cached answer is served until its nextUpdate, and no
longer.

# Testing

Package ocsptest has a CA for tests, a store whose records a test sets, a clock and a client.
*/
package ocsp
