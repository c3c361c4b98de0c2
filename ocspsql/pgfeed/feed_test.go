package pgfeed_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/servers"
	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/pgfeed"
	"github.com/kmsocsp/ocsp/ocsptest"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

var (
	ctx    = context.Background()
	serial = new(big.Int).SetBytes(bytes.Repeat([]byte{0xf1}, 20))
	active = ocsp.Record{State: ocsp.Active, NotAfter: time.Now().Add(time.Hour).Truncate(time.Second)}
)

// rig is a server with our table and a feed.
type rig struct {
	*servers.Server
	url   string
	db    *sql.DB
	store *ocspsql.Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	s, err := servers.PostgreSQL()
	if errors.Is(err, servers.ErrMissing) && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Remove()) })
	r := &rig{Server: s, url: s.PostgresURL("postgres")}
	r.db, err = sql.Open("pgx", r.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.db.Close() })
	require.NoError(t, ocspsql.Migrate(ctx, r.db, ocspsql.PostgreSQL))
	r.store, err = ocspsql.Open(ctx, r.db, ocspsql.PostgreSQL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.store.Close() })
	return r
}

func (r *rig) feed(t *testing.T) *pgfeed.Feed {
	t.Helper()
	f, err := pgfeed.New(pgfeed.Options{Conn: r.url, MaxLag: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func (r *rig) exec(t *testing.T, query string) {
	t.Helper()
	_, err := r.db.ExecContext(ctx, query)
	require.NoError(t, err)
}

func (r *rig) add(t *testing.T, issuerID string, from, to int64) {
	t.Helper()
	var list iter.Seq2[ocspsql.Certificate, error] = func(yield func(ocspsql.Certificate, error) bool) {
		for i := from; i < to; i++ {
			if !yield(ocspsql.Certificate{IssuerID: issuerID, Serial: big.NewInt(i), Record: active}, nil) {
				return
			}
		}
	}
	_, err := r.store.Import(ctx, list, nil)
	require.NoError(t, err)
}

// follow follows a feed until the test ends, as a Responder does.
func follow(t *testing.T, feed ocsp.ChangeFeed) *ocsptest.FeedSink {
	t.Helper()
	f := ocsptest.NewFeedSink()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = feed.Follow(ctx, f)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	require.NoError(t, f.Wait("trust", f.Valid))
	return f
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, 5*time.Millisecond, what)
}

func TestContract(t *testing.T) {
	r := newRig(t)
	require.NoError(t, ocsptest.TestChangeFeed(r.feed(t), r.feed(t)))
}

// settle waits until what was committed before is told.
func settle(t *testing.T, feed *pgfeed.Feed, f *ocsptest.FeedSink, n int64) {
	t.Helper()
	require.NoError(t, feed.Publish(ctx, "settled", big.NewInt(n)))
	require.NoError(t, f.Wait("what came before", func() bool { return f.Heard("settled", big.NewInt(n)) }))
}

func TestTriggers(t *testing.T) {
	r := newRig(t)
	feed := r.feed(t)
	f := follow(t, feed)
	begun := f.Resyncs()
	heard := func(issuerID string, n int64) bool { return f.Heard(issuerID, big.NewInt(n)) }

	r.add(t, "ca", 0, 5000)
	settle(t, feed, f, 1)
	require.False(t, heard("ca", 1), "what is new needs no message")

	for i, query := range []string{
		"UPDATE ocsp_certificates SET state = 'Active' WHERE serial = '\\x01'",
		"UPDATE ocsp_certificates SET state = 'Active' WHERE serial = '\\x99'",
		"BEGIN; UPDATE ocsp_certificates SET state = 'Deactivated', revoked_at = 1 WHERE serial = '\\x01'; ROLLBACK",
	} {
		r.exec(t, query)
		settle(t, feed, f, int64(10+i))
		require.False(t, heard("ca", 1), "nothing has changed: %s", query)
	}
	_, err := r.store.Revoke(ctx, "ca", big.NewInt(1), ocspsql.Revocation{Reason: ocsp.KeyCompromise})
	require.NoError(t, err)
	require.NoError(t, f.Wait("a revocation", func() bool { return heard("ca", 1) }))
	r.exec(t, "UPDATE ocsp_certificates SET not_after = 1 WHERE serial = '\\x02'")
	require.NoError(t, f.Wait("an expiry", func() bool { return heard("ca", 2) }))
	r.exec(t, "DELETE FROM ocsp_certificates WHERE serial = '\\x03'")
	require.NoError(t, f.Wait("a deletion", func() bool { return heard("ca", 3) }))

	issuer := "ca\n\"'é\t漢* "
	require.NoError(t, r.store.Issue(ctx, ocspsql.Certificate{IssuerID: issuer, Serial: serial, Record: active}))
	_, err = r.store.Revoke(ctx, issuer, serial, ocspsql.Revocation{})
	require.NoError(t, err)
	require.NoError(t, f.Wait("an issuer with all sorts of letters", func() bool { return f.Heard(issuer, serial) }))
	require.Equal(t, begun, f.Resyncs())

	r.exec(t, "UPDATE ocsp_certificates SET state = 'Deactivated', revoked_at = 1 WHERE serial > '\\x10' AND state = 'Active'")
	require.NoError(t, f.Wait("everything", func() bool { return f.Resyncs() == begun+1 }))
	require.False(t, heard("ca", 0x20))
	r.exec(t, "TRUNCATE ocsp_certificates")
	require.NoError(t, f.Wait("everything", func() bool { return f.Resyncs() == begun+2 }))
}

func TestPsql(t *testing.T) {
	psql, err := exec.LookPath("psql")
	if err != nil && os.Getenv("OCSP_REQUIRE_TOOLS") != "1" {
		t.Skip("psql is missing: apt-get install postgresql-client")
	}
	require.NoError(t, err)
	r := newRig(t)
	f := follow(t, r.feed(t))
	require.NoError(t, r.store.Issue(ctx, ocspsql.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
	update := fmt.Sprintf(`UPDATE ocsp_certificates SET state = 'Compromised', reason = 'keyCompromise', revoked_at = 1767225600 WHERE serial = '\x00%x'`, serial)
	out, err := exec.Command(psql, r.url, "-c", update).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "UPDATE 1")
	require.NoError(t, f.Wait("what was written by hand", func() bool { return f.Heard("ca", serial) }))
}

// replica is a responder with a long StatusTTL.
func (r *rig) replica(t *testing.T, ca *ocsptest.CA) (*ocsp.Responder, *ocsptest.Signer) {
	t.Helper()
	signer := ocsptest.NewSigner(ca.Key)
	issuer := ca.Issuer()
	issuer.Signer = signer
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{issuer}, Store: r.store, Timeout: 5 * time.Second,
		Cache: ocsp.CacheOptions{StatusTTL: time.Hour, Feed: r.feed(t)},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, responder.Close()) })
	return responder, signer
}

func TestReplicas(t *testing.T) {
	r := newRig(t)
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		_ = r.db.Close()
		eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	})
	ca := ocsptest.NewCA(ocsptest.Options{})
	first, _ := r.replica(t, ca)
	second, signer := r.replica(t, ca)
	query := func(responder *ocsp.Responder, n int64, want ocsp.Status) func() bool {
		leaf := *ca.Certificate
		leaf.SerialNumber = big.NewInt(n)
		request := ocsptest.Client{}.Request(ca.Certificate, &leaf)
		return func() bool {
			answer := responder.Respond(ctx, request)
			return len(answer.Responses) == 1 && answer.Responses[0].Status == want
		}
	}
	r.add(t, ca.ID, 0, 100)
	revoke := func(n int64) {
		_, err := r.store.Revoke(ctx, ca.ID, big.NewInt(n), ocspsql.Revocation{Reason: ocsp.KeyCompromise})
		require.NoError(t, err)
	}
	for n := range int64(20) {
		require.True(t, query(first, n, ocsp.Good)())
		require.True(t, query(second, n, ocsp.Good)())
		revoke(n) // Invalidate is not called: the trigger tells both
		eventually(t, "revoked", query(first, n, ocsp.Revoked))
		eventually(t, "revoked", query(second, n, ocsp.Revoked))
	}
	signed := signer.Calls()
	require.Equal(t, 40, signed)
	require.NoError(t, first.Invalidate(ctx, ca.ID, big.NewInt(1)))
	f := follow(t, r.feed(t))
	settle(t, r.feed(t), f, 1)
	require.True(t, query(second, 1, ocsp.Revoked)())
	require.Equal(t, signed, signer.Calls(), "a change that is none costs no signature")

	// A change that is lost with the connection shows all the same.
	require.True(t, query(second, 50, ocsp.Good)())
	tx, err := r.db.BeginTx(ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(ctx, "UPDATE ocsp_certificates SET state = 'Deactivated', revoked_at = 1 WHERE serial = '\\x32'")
	require.NoError(t, err)
	var ended int // the feeds' connections, of two responders and of a follower
	require.NoError(t, tx.QueryRowContext(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity\n"+
		"WHERE (query LIKE '%tgenabled%' OR query = 'SELECT pg_notify($1, $2)') AND pid <> pg_backend_pid()").Scan(&ended))
	require.Equal(t, 3, ended)
	require.NoError(t, tx.Commit())
	eventually(t, "revoked, although nobody listened", query(second, 50, ocsp.Revoked))

	// While the server hangs, what is cached is served, and nothing else.
	require.True(t, query(second, 51, ocsp.Good)())
	require.NoError(t, r.Pause())
	require.True(t, query(second, 51, ocsp.Good)(), "cached")
	require.NoError(t, r.Resume())
	revoke(51)
	eventually(t, "revoked", query(second, 51, ocsp.Revoked))

	// The same with a server that is gone.
	require.True(t, query(second, 52, ocsp.Good)())
	require.NoError(t, r.Stop())
	eventually(t, "cached, once the store has answered nobody for StorePatience", query(second, 52, ocsp.Good))
	require.False(t, query(second, 53, ocsp.Good)(), "nobody knows")
	require.NoError(t, r.Start())
	eventually(t, "the store answers again", query(second, 53, ocsp.Good))
	revoke(52)
	eventually(t, "revoked", query(second, 52, ocsp.Revoked))
}

func TestServerThatHangs(t *testing.T) {
	r := newRig(t)
	f := follow(t, r.feed(t))
	require.NoError(t, r.Pause())
	eventually(t, "trust ends", func() bool { return !f.Valid() })
	require.NoError(t, r.Resume())
	require.NoError(t, f.Wait("trust, again", f.Valid))
	begun := f.Resyncs()
	require.NoError(t, r.Stop())
	eventually(t, "trust ends", func() bool { return !f.Valid() })
	require.NoError(t, r.Start())
	require.NoError(t, f.Wait("trust, again", func() bool { return f.Valid() && f.Resyncs() > begun }))
}

// recipe is the SQL behind a mark in docs/STORES.md.
func recipe(t *testing.T, mark string) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/STORES.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(doc), "<!-- "+mark+" -->\n\n```sql\n")
	require.True(t, ok, mark)
	sql, _, ok := strings.Cut(rest, "```")
	require.True(t, ok, mark)
	return sql
}

// ownTable makes a table of the host's own with its trigger, as docs/STORES.md has it, and a good certificate.
func (r *rig) ownTable(t *testing.T) {
	t.Helper()
	r.exec(t, "CREATE TABLE objects (uid TEXT PRIMARY KEY, issuer_uid TEXT, serial BYTEA, attributes JSONB)")
	r.exec(t, recipe(t, "own trigger"))
	r.exec(t, `INSERT INTO objects VALUES ('1', 'ca', '\xf1f1', '{"State": "Active"}')`)
}

func TestOwnTable(t *testing.T) {
	r := newRig(t)
	f := follow(t, r.feed(t))
	r.ownTable(t)
	r.exec(t, `UPDATE objects SET attributes = '{"State": "Compromised"}' WHERE uid = '1'`)
	require.NoError(t, f.Wait("the change", func() bool { return f.Heard("ca", big.NewInt(0xf1f1)) }))
}

// What is written under session_replication_role = replica is heard too, where ordinary triggers do not fire.
func TestReplicaRole(t *testing.T) {
	r := newRig(t)
	r.ownTable(t)
	r.add(t, "ca", 1, 10)
	f := follow(t, r.feed(t))
	as := func(query string) {
		r.exec(t, "SET session_replication_role = replica; "+query+"; RESET session_replication_role")
	}
	as("UPDATE ocsp_certificates SET state = 'Deactivated', revoked_at = 1 WHERE serial = '\\x01'")
	require.NoError(t, f.Wait("a revocation", func() bool { return f.Heard("ca", big.NewInt(1)) }))
	as("DELETE FROM ocsp_certificates WHERE serial = '\\x02'")
	require.NoError(t, f.Wait("a deletion", func() bool { return f.Heard("ca", big.NewInt(2)) }))
	as(`UPDATE objects SET attributes = '{"State": "Compromised"}' WHERE uid = '1'`)
	require.NoError(t, f.Wait("a revocation in a table of the host's own", func() bool { return f.Heard("ca", big.NewInt(0xf1f1)) }))
	begun := f.Resyncs()
	as("TRUNCATE ocsp_certificates")
	require.NoError(t, f.Wait("everything", func() bool { return f.Resyncs() > begun }))
}

// A trigger that does not always fire ends the trust, and the error has the statement that mends it.
func TestTriggerThatIsNotAlways(t *testing.T) {
	r := newRig(t)
	r.ownTable(t)
	r.exec(t, `
CREATE SCHEMA "KMS";
CREATE TABLE "KMS"."my objects" (serial BYTEA);
CREATE FUNCTION "KMS".notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify(TG_ARGV[0], encode(OLD.serial, 'hex') || ' ca'); RETURN NULL; END $$;
CREATE TRIGGER "tell all" AFTER UPDATE ON "KMS"."my objects" FOR EACH ROW EXECUTE FUNCTION "KMS".notify('ocsp_changes');
ALTER TABLE "KMS"."my objects" ENABLE ALWAYS TRIGGER "tell all";
CREATE TABLE elsewhere (serial BYTEA);
CREATE TRIGGER other_channel AFTER UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION "KMS".notify('other')`)
	feed := r.feed(t)
	for _, test := range []struct{ spoil, cure string }{
		// What pg_restore --disable-triggers leaves behind.
		{"ALTER TABLE ocsp_certificates DISABLE TRIGGER ALL; ALTER TABLE ocsp_certificates ENABLE TRIGGER ALL", "ALTER TABLE public.ocsp_certificates ENABLE ALWAYS TRIGGER ocsp_notify_delete; " +
			"ALTER TABLE public.ocsp_certificates ENABLE ALWAYS TRIGGER ocsp_notify_truncate; ALTER TABLE public.ocsp_certificates ENABLE ALWAYS TRIGGER ocsp_notify_update"},
		{"ALTER TABLE ocsp_certificates DISABLE TRIGGER ocsp_notify_update", "ALTER TABLE public.ocsp_certificates ENABLE ALWAYS TRIGGER ocsp_notify_update"},
		{"ALTER TABLE ocsp_certificates ENABLE REPLICA TRIGGER ocsp_notify_delete", "ALTER TABLE public.ocsp_certificates ENABLE ALWAYS TRIGGER ocsp_notify_delete"},
		{"ALTER TABLE objects ENABLE TRIGGER objects_changed", "ALTER TABLE public.objects ENABLE ALWAYS TRIGGER objects_changed"},
		{`ALTER TABLE "KMS"."my objects" ENABLE TRIGGER "tell all"`, `ALTER TABLE "KMS"."my objects" ENABLE ALWAYS TRIGGER "tell all"`},
	} {
		f := ocsptest.NewFeedSink()
		ended := make(chan error, 1)
		go func() { ended <- feed.Follow(ctx, f) }()
		require.NoError(t, f.Wait("trust", f.Valid))
		r.exec(t, test.spoil) // while it is followed
		var err error
		select {
		case err = <-ended:
		case <-time.After(30 * time.Second):
			require.Fail(t, "it goes on", test.spoil)
		}
		require.ErrorContains(t, err, test.cure)
		require.NotContains(t, err.Error(), "other_channel")
		eventually(t, "trust ends", func() bool { return !f.Valid() })

		f = ocsptest.NewFeedSink()
		err = feed.Follow(ctx, f)
		require.ErrorContains(t, err, test.cure)
		require.False(t, f.Valid(), "never")
		_, cure, _ := strings.Cut(err.Error(), ": run ")
		r.exec(t, cure)
	}
	follow(t, feed)
}

// A trigger that notifies a channel with a longer name is none of the feed's business.
func TestTriggerOfALongerChannel(t *testing.T) {
	r := newRig(t)
	r.exec(t, `
CREATE TABLE elsewhere (serial BYTEA);
CREATE FUNCTION archived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('ocsp_changes_archive', ''), pg_notify('old_ocsp_changes', ''); RETURN NULL; END $$;
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify(TG_ARGV[1], ''); RETURN NULL; END $$;
CREATE TRIGGER archived AFTER UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION archived();
CREATE TRIGGER told AFTER UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION told('x', 'old_ocsp_changes', 'ocsp_changes_old');
CREATE TRIGGER other AFTER UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION told('x', 'abc(é+')`)
	follow(t, r.feed(t))

	feed, err := pgfeed.New(pgfeed.Options{Conn: r.url, Channel: "a.c(é+"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, feed.Close()) })
	follow(t, feed)
	for name, function := range map[string]string{
		"as_argument": `CREATE TRIGGER as_argument AFTER UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION told('x', 'a.c(é+')`,
		"in_source": `CREATE FUNCTION notify() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NOTIFY "a.c(é+"; RETURN NULL; END $$;
CREATE TRIGGER in_source AFTER UPDATE ON elsewhere FOR EACH ROW EXECUTE FUNCTION notify()`,
	} {
		r.exec(t, function)
		require.ErrorContains(t, feed.Follow(ctx, ocsptest.NewFeedSink()), "ENABLE ALWAYS TRIGGER "+name)
		r.exec(t, "DROP TRIGGER "+name+" ON elsewhere")
	}
}

// A responder that cannot be told of a change reads the store for every answer.
func TestUnheardChangeShows(t *testing.T) {
	r := newRig(t)
	ca := ocsptest.NewCA(ocsptest.Options{})
	responder, _ := r.replica(t, ca)
	r.add(t, ca.ID, 1, 3)
	leaf := *ca.Certificate
	leaf.SerialNumber = big.NewInt(1)
	request := ocsptest.Client{}.Request(ca.Certificate, &leaf)
	status := func() ocsp.Status {
		answer := responder.Respond(ctx, request)
		require.Len(t, answer.Responses, 1)
		return answer.Responses[0].Status
	}
	require.Equal(t, ocsp.Good, status())
	r.exec(t, "ALTER TABLE ocsp_certificates DISABLE TRIGGER ALL")
	r.exec(t, "UPDATE ocsp_certificates SET state = 'Deactivated', revoked_at = 1 WHERE serial = '\\x01'")
	r.exec(t, "ALTER TABLE ocsp_certificates ENABLE TRIGGER ALL")
	eventually(t, "revoked, although nothing was notified", func() bool { return status() == ocsp.Revoked })
}

// The apply of a logical replication fires no statement triggers. The row trigger of docs/STORES.md is heard.
func TestLogicalApply(t *testing.T) {
	r := newRig(t)
	r.exec(t, "ALTER SYSTEM SET wal_level = logical")
	r.db.SetMaxIdleConns(0) // none is kept from before
	require.NoError(t, r.Stop())
	require.NoError(t, r.Start())
	r.exec(t, "CREATE DATABASE origin")
	origin, err := sql.Open("pgx", r.PostgresURL("origin"))
	require.NoError(t, err)
	defer func() { _ = origin.Close() }()
	require.NoError(t, ocspsql.Migrate(ctx, origin, ocspsql.PostgreSQL))
	store, err := ocspsql.Open(ctx, origin, ocspsql.PostgreSQL)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, store.Issue(ctx, ocspsql.Certificate{IssuerID: "ca", Serial: serial, Record: active}))
	for _, query := range []string{"CREATE PUBLICATION certificates FOR TABLE ocsp_certificates", "SELECT pg_create_logical_replication_slot('certificates', 'pgoutput')"} {
		_, err = origin.ExecContext(ctx, query)
		require.NoError(t, err)
	}
	r.exec(t, recipe(t, "apply trigger"))
	// A subscription on the same server cannot make its slot itself.
	r.exec(t, "CREATE SUBSCRIPTION certificates CONNECTION '"+r.PostgresURL("origin")+"' PUBLICATION certificates WITH (create_slot = false, slot_name = 'certificates')")
	t.Cleanup(func() {
		r.exec(t, "ALTER SUBSCRIPTION certificates DISABLE")
		r.exec(t, "DROP SUBSCRIPTION certificates")
	})
	find := func() ocsp.Record { record, _ := r.store.FindBySerial(ctx, "ca", serial); return record }
	eventually(t, "the first copy", func() bool { return find().State == ocsp.Active })
	f := follow(t, r.feed(t))
	_, err = store.Revoke(ctx, "ca", serial, ocspsql.Revocation{Reason: ocsp.KeyCompromise})
	require.NoError(t, err)
	require.NoError(t, f.Wait("what was applied", func() bool { return f.Heard("ca", serial) }))
	require.Equal(t, ocsp.Compromised, find().State)
}

func TestUnreadableMessages(t *testing.T) {
	r := newRig(t)
	f := follow(t, r.feed(t))
	for _, message := range []string{"hello", "*", "zz ca", " ca", "00", ""} {
		begun := f.Resyncs()
		r.exec(t, "SELECT pg_notify('ocsp_changes', '"+message+"')")
		require.NoError(t, f.Wait("Resync, for it may be about anything", func() bool { return f.Resyncs() > begun }))
	}
	require.NoError(t, f.Wait("trust", f.Valid))
}

func TestErrors(t *testing.T) {
	for name, test := range map[string]struct {
		o    pgfeed.Options
		want string
	}{
		"no Conn":      {pgfeed.Options{}, "the field Conn is empty"},
		"malformed":    {pgfeed.Options{Conn: "postgres://u:s3cret@[::1/x"}, "the field Conn cannot be parsed"},
		"long channel": {pgfeed.Options{Conn: "host=x", Channel: strings.Repeat("c", 41)}, "the field Channel"},
		"lag":          {pgfeed.Options{Conn: "host=x", MaxLag: 1}, "the field MaxLag"},
	} {
		_, err := pgfeed.New(test.o)
		require.ErrorContains(t, err, test.want, name)
		require.NotContains(t, err.Error(), "s3cret")
	}
	r := newRig(t)
	feed, err := pgfeed.New(pgfeed.Options{Conn: strings.Replace(r.url, servers.Password, "another-s3cret", 1)})
	require.NoError(t, err)
	defer func() { require.NoError(t, feed.Close()) }()
	for _, err := range []error{feed.Follow(ctx, ocsptest.NewFeedSink()), feed.Publish(ctx, "ca", serial)} {
		require.ErrorContains(t, err, "password authentication failed")
		require.NotContains(t, err.Error(), "s3cret")
	}
	require.NoError(t, r.feed(t).Publish(ctx, "ca"))
	require.NoError(t, r.feed(t).Publish(ctx, strings.Repeat("x", 9000), serial), "too long for a message: everything")
}
