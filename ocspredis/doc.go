/*
Package ocspredis keeps what an OCSP responder needs in Redis: the certificates, under an encrypted index, the
signed answers that replicas share, and a feed on which they tell each other of changes. Redis 6.2 or later and
Valkey will do.

	client := redis.NewClient(options)
	o := ocspredis.Options{Client: client, Keys: ocspredis.Keys{Current: "2026", Secrets: map[string][]byte{"2026": secret}}}
	store, err := ocspredis.NewStore(o)
	cache, err := ocspredis.NewCache(o)
	feed, err := ocspredis.NewFeed(o)
	responder, err := ocsp.New(ocsp.Config{
		Issuers: issuers,
		Store:   store,
		Cache:   ocsp.CacheOptions{StatusTTL: time.Hour, Remote: cache, Feed: feed},
	})

Each of the three may be used without the others: a store in PostgreSQL with a cache and a feed in Redis is usual.

# The store

A certificate is found under a keyed MAC (HMAC-SHA-256) of its issuer and serial number, and its entry is encrypted
(AES-256-GCM) and bound to that name; Keys has the bound on what one key encrypts. Who reads Redis learns how many entries there are and, if he looks again, which
of them changed; not whose they are, nor what they say: entries are padded to a multiple of 128 octets, and both
good and revoked ones are as long. Who can write to Redis can remove an entry, or put back an older one of the same
certificate, which no encryption prevents; he cannot make one up, or pass one certificate's off as another's. What
he spoils is internalError until it is mended, as is whatever else cannot be read.

Changes compare and set: a script writes only over the entry that was read, so writers that meet cannot undo each
other, and a revoked certificate becomes good again through Release only.

The server must not evict certificates, since one that is gone is answered as never issued. NewStore refuses a
maxmemory-policy of allkeys-*. With noeviction a full server refuses writes; with volatile-* it evicts the answers of the
cache, which have a TTL, and no certificate, which has none.

Redis confirms a write before it is on the disk, unless appendfsync is "always", and before replicas have it: a
failover may lose a revocation that was confirmed. Where that must not be, keep the certificates in a database.

# The cache

It saves signatures, and nothing depends on it: the Responder verifies what it returns.

# The feed

Follow sends a PING every quarter of Options.MaxLag, on the connection on which it listens: when the answer comes,
everything that was published before has come, too. A status is trusted for MaxLag after the last such proof, and so
no replica says good for longer than MaxLag after Invalidate returned without an error on another, whatever becomes
of the connection, the server or the network. While all is well a change arrives within a millisecond or so. When
the connection is lost, statuses are no longer trusted, and after it is back everything is read once more.

That holds for one server. Behind Sentinel, a primary that was cut off still answers those who have not noticed;
then it is StatusTTL that bounds. So it is behind a proxy, or on a server, that answers a PING and a PUBLISH but
does not deliver the message: nothing shows that it was lost, and the change is hidden until StatusTTL. Connect the feed
directly, and choose StatusTTL so that it may be. What is on the feed is encrypted, too; a message that cannot be read counts as a
change of everything.

# Why go-redis

It is the client of the Redis project itself, and the one that most hosts have already.
*/
package ocspredis
