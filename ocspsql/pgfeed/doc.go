/*
Package pgfeed tells an OCSP responder of changes in PostgreSQL, through LISTEN and NOTIFY: a revocation that any
program writes, by hand in psql too, reaches all replicas.

	feed, err := pgfeed.New(pgfeed.Options{Conn: "postgres://kms@db/kms"})
	responder, err := ocsp.New(ocsp.Config{
		Issuers: issuers,
		Store:   store, // ocspsql's, over the same server
		Cache:   ocsp.CacheOptions{StatusTTL: time.Hour, Feed: feed},
	})

The table of package ocspsql has triggers that notify. A table of yours needs one: docs/STORES.md has it. Without a
trigger only what Responder.Invalidate is called for is told.

Triggers must be ENABLE ALWAYS, since others do not fire under session_replication_role = replica. Follow looks at those
that notify the channel, and returns an error with the statement that mends them if one is not: then every answer reads
the store.

# What it promises

PostgreSQL delivers notifications in the order in which transactions committed. So Follow sends itself a
notification every quarter of Options.MaxLag, on the connection on which it listens: when it comes back, everything
that was committed before it was sent has come, too. A status is trusted for MaxLag after the last such proof, and so
no replica says good for longer than MaxLag after a revocation was committed, whatever becomes of the connection, the
server or the network. While all is well a change arrives within milliseconds.

It holds for changes that a trigger fires for. docs/STORES.md has what cannot be heard: what is written while the
triggers are disabled, as by pg_restore --disable-triggers, if they always fire again before Follow has looked, and
what a logical replication applies where there are no row triggers.

When the connection is lost, statuses are no longer trusted, and after it is back everything is read once more.

# What it needs

A connection of its own to the primary: a standby cannot LISTEN, and PgBouncer must not be between in transaction
mode. The store has to read from the primary too: a standby that lags shows old states to those who have just been told
of a new one.

# Messages

A message on the channel is a serial number in hexadecimal, as in the column serial of ocspsql, a space, and the
issuer's ID; or * when more changed than is worth listing.
*/
package pgfeed
