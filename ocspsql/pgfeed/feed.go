package pgfeed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/kmsocsp/ocsp"
)

// DefaultChannel is the channel that the trigger of ocspsql's table notifies.
const DefaultChannel = "ocsp_changes"

const (
	defaultMaxLag = 2 * time.Second
	minMaxLag     = 100 * time.Millisecond
	maxPayload    = 7999 // octets, PostgreSQL's limit
	maxMessages   = 1000 // above it, everything is said to have changed
	everything    = "*"

	connectTimeout = 5 * time.Second
	closeTimeout   = time.Second
)

// Options are the options of a Feed.
type Options struct {
	// Conn is a connection string, a URL or keywords and values, as for pgx.ParseConfig. Required.
	Conn string

	// Channel is the one to listen on. Zero is DefaultChannel.
	Channel string

	// MaxLag is the longest time that a change may go unheard. At least 100 ms. Zero is 2 s.
	MaxLag time.Duration
}

// Feed is an ocsp.ChangeFeed. It is safe for concurrent use, by several Responders too.
type Feed struct {
	channel string
	maxLag  time.Duration
	config  *pgx.ConnConfig
	pool    *pgxpool.Pool // of Publish
}

var _ ocsp.ChangeFeed = (*Feed)(nil)

// New makes a Feed. It connects when it is first used. Errors never repeat the connection string.
func New(o Options) (*Feed, error) {
	if o.Channel == "" {
		o.Channel = DefaultChannel
	}
	if len(o.Channel) > 40 {
		return nil, fmt.Errorf("pgfeed: the field Channel has %d octets: use 40 or fewer", len(o.Channel))
	}
	if o.MaxLag == 0 {
		o.MaxLag = defaultMaxLag
	}
	if o.MaxLag < minMaxLag {
		return nil, fmt.Errorf("pgfeed: the field MaxLag is %v: use %v or more", o.MaxLag, minMaxLag)
	}
	if o.Conn == "" {
		return nil, errors.New("pgfeed: the field Conn is empty: give a connection string")
	}
	pool, err := pgxpool.ParseConfig(o.Conn)
	if err != nil {
		// pgx redacts passwords, but not in what it cannot parse.
		return nil, errors.New("pgfeed: the field Conn cannot be parsed: use a form such as postgres://user:password@host:5432/database")
	}
	pool.MaxConns, pool.MinConns = 2, 0
	f := &Feed{channel: o.Channel, maxLag: o.MaxLag, config: pool.ConnConfig.Copy()}
	if f.pool, err = pgxpool.NewWithConfig(context.Background(), pool); err != nil {
		return nil, fmt.Errorf("pgfeed: %w", err)
	}
	return f, nil
}

// Close closes the connections of Publish. Close the Responder first.
func (f *Feed) Close() error {
	f.pool.Close()
	return nil
}

// Publish implements ocsp.ChangeFeed. With a trigger it says what the trigger said already, which does no harm.
func (f *Feed) Publish(ctx context.Context, issuerID string, serials ...*big.Int) error {
	var messages []string
	for _, serial := range serials {
		if serial != nil {
			messages = append(messages, message(issuerID, serial))
		}
	}
	if len(messages) == 0 {
		return nil
	}
	if len(messages) > maxMessages {
		messages = []string{everything}
	}
	if _, err := f.pool.Exec(ctx, "SELECT pg_notify($1, m) FROM unnest($2::text[]) AS m", f.channel, messages); err != nil {
		return fmt.Errorf("pgfeed: publish: %w", err)
	}
	return nil
}

func message(issuerID string, serial *big.Int) string {
	m := hex.EncodeToString(twosComplement(serial)) + " " + issuerID
	if len(m) > maxPayload || strings.ContainsRune(m, 0) || !utf8.ValidString(m) {
		return everything // the server would refuse it
	}
	return m
}

// twosComplement returns a serial's content octets in DER.
func twosComplement(serial *big.Int) []byte {
	n := serial.BitLen()/8 + 1
	if serial.Sign() < 0 {
		n = new(big.Int).Not(serial).BitLen()/8 + 1
		serial = new(big.Int).Add(serial, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	return serial.FillBytes(make([]byte, n))
}

// Follow implements ocsp.ChangeFeed.
func (f *Feed) Follow(ctx context.Context, follower ocsp.FeedSink) error {
	if err := f.follow(ctx, follower); err != nil {
		return fmt.Errorf("pgfeed: follow: %w", err)
	}
	return nil
}

func (f *Feed) follow(ctx context.Context, follower ocsp.FeedSink) error {
	l, err := f.listen(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	follower.Resync()
	for {
		sent := time.Now()
		if err := l.beat(ctx, follower, sent.Add(f.maxLag)); err != nil {
			return err
		}
		follower.ValidUntil(sent.Add(f.maxLag))
		if err := l.receive(ctx, follower, sent.Add(f.maxLag/4)); !errors.Is(err, errNothing) {
			return err
		}
	}
}

// listener is the connection that listens: to the channel, and to one that nobody else knows.
type listener struct {
	*pgx.Conn
	channel, own string
	token        string // the last that was sent to own
}

func (f *Feed) listen(ctx context.Context) (_ *listener, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, f.config)
	if err != nil {
		return nil, err
	}
	l := &listener{Conn: conn, channel: f.channel, own: f.channel + "_" + rand.Text()[:16]}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	var standby bool
	if err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		return nil, err
	}
	if standby {
		return nil, errors.New("the server is a standby, which cannot LISTEN: connect to the primary, and let the store read from it")
	}
	for _, channel := range []string{l.channel, l.own} {
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *listener) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = l.Conn.Close(ctx) // it is gone either way
}

// beat sends itself a notification and returns when it has come back, and all before it: all channels share one
// queue, and whoever notifies holds a lock from before it writes to the queue until its transaction has committed
// (PreCommit_Notify in PostgreSQL's async.c), so the queue is in the order of the commits.
func (l *listener) beat(ctx context.Context, follower ocsp.FeedSink, until time.Time) error {
	within, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	l.token = rand.Text()
	if _, err := l.Exec(within, "SELECT pg_notify($1, $2)", l.own, l.token); err != nil {
		return fmt.Errorf("send a notification: %w", err)
	}
	if err := l.checkTriggers(within); err != nil {
		return err
	}
	switch err := l.receive(ctx, follower, until); {
	case errors.Is(err, errNothing):
		return errors.New("no notification came back in time: the server hangs, or a pooler is between that does not keep the session, such as PgBouncer in transaction mode")
	default:
		return err
	}
}

// notAlways returns the statements that have every trigger fire always that notifies the channel: whose function has
// the channel's name in its source, and not as part of a longer one, or which passes it as an argument.
const notAlways = `SELECT string_agg(format('ALTER TABLE %I.%I ENABLE ALWAYS TRIGGER %I', n.nspname, c.relname, t.tgname), '; ' ORDER BY n.nspname, c.relname, t.tgname)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled <> 'A' AND (
	t.tgfoid IN (SELECT oid FROM pg_proc WHERE prorettype = 'trigger'::regtype AND strpos(prosrc, $1) > 0 AND
		prosrc ~ ('(^|[^[:alnum:]_])' || regexp_replace($1, '([^[:alnum:]_])', E'\\\\\\1', 'g') || '($|[^[:alnum:]_])')) OR
	position(E'\\x00'::bytea || convert_to($1, getdatabaseencoding()) || E'\\x00'::bytea IN E'\\x00'::bytea || t.tgargs) > 0)`

// checkTriggers returns an error if a trigger does not fire for every session. It is asked with every beat: a trigger
// that was disabled, and a change that it did not notify of, were committed after the one before.
func (l *listener) checkTriggers(ctx context.Context) error {
	var cure *string
	if err := l.QueryRow(ctx, notAlways, l.channel).Scan(&cure); err != nil {
		return fmt.Errorf("look at the triggers: %w", err)
	}
	if cure != nil {
		return fmt.Errorf("changes may go unheard, since a trigger does not always fire, as after a restore with --disable-triggers: run %s", *cure)
	}
	return nil
}

// errNothing ends a time in which nothing more was to be received.
var errNothing = errors.New("pgfeed: nothing was received")

// receive passes on what comes until that time, and then returns errNothing, or until the token comes back.
func (l *listener) receive(ctx context.Context, follower ocsp.FeedSink, until time.Time) error {
	within, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for {
		n, err := l.WaitForNotification(within)
		switch {
		case err != nil && ctx.Err() == nil && within.Err() != nil && !l.IsClosed():
			return errNothing
		case err != nil:
			return err
		case n.Channel == l.own:
			if n.Payload == l.token {
				return nil
			}
		default:
			pass(n, follower)
		}
	}
}

// pass tells the follower what a notification says. One that cannot be read may be about anything.
func pass(n *pgconn.Notification, follower ocsp.FeedSink) {
	text, issuerID, ok := strings.Cut(n.Payload, " ")
	content, err := hex.DecodeString(text)
	if !ok || err != nil || len(content) == 0 {
		follower.Resync()
		return
	}
	serial := new(big.Int).SetBytes(content)
	if content[0] >= 0x80 { // two's complement
		serial.Sub(serial, new(big.Int).Lsh(big.NewInt(1), uint(8*len(content))))
	}
	follower.Changed(issuerID, serial)
}
