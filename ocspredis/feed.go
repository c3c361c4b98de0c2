package ocspredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/kmsocsp/ocsp"
)

const (
	defaultMaxLag = 2 * time.Second
	minMaxLag     = 100 * time.Millisecond
	maxSerials    = 200 // in one message
)

// Feed is an ocsp.ChangeFeed over Redis Pub/Sub: Responder.Invalidate on one replica reaches all. It is safe for
// concurrent use, by several Responders too.
type Feed struct {
	client  *redis.Client
	keys    ring
	channel string
	maxLag  time.Duration
}

var _ ocsp.ChangeFeed = (*Feed)(nil)

// NewFeed makes a Feed. The client must be a *redis.Client: what is published on one node of a cluster reaches the
// others at some time, and nothing tells when. It talks to Redis when it is first used.
func NewFeed(o Options) (*Feed, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("ocspredis: feed: %w", err)
	}
	client, ok := o.Client.(*redis.Client)
	if !ok {
		return nil, fmt.Errorf("ocspredis: feed: the field Client is a %T: use a *redis.Client, of a single server", o.Client)
	}
	keys, err := o.Keys.ring()
	if err != nil {
		return nil, fmt.Errorf("ocspredis: feed: %w", err)
	}
	if o.MaxLag == 0 {
		o.MaxLag = defaultMaxLag
	}
	if o.MaxLag < minMaxLag {
		return nil, fmt.Errorf("ocspredis: feed: the field MaxLag is %v: use %v or more", o.MaxLag, minMaxLag)
	}
	return &Feed{client, keys, o.Prefix + "feed", o.MaxLag}, nil
}

// Publish implements ocsp.ChangeFeed.
func (b *Feed) Publish(ctx context.Context, issuerID string, serials ...*big.Int) error {
	if len(issuerID) > maxIssuer {
		return fmt.Errorf("ocspredis: publish: the issuer's ID has %d octets: use up to %d", len(issuerID), maxIssuer)
	}
	_, err := b.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for len(serials) > 0 {
			n := min(len(serials), maxSerials)
			p.Publish(ctx, b.channel, b.keys.seal(message(issuerID, serials[:n]), b.channel))
			serials = serials[n:]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ocspredis: publish: %w", err)
	}
	return nil
}

// message writes an issuer and serials, each after its length.
func message(issuerID string, serials []*big.Int) []byte {
	m := append([]byte{byte(len(issuerID))}, issuerID...)
	for _, serial := range serials {
		number := octets(serial)
		if len(number) > maxSerial {
			continue // no certificate of any store
		}
		m = append(append(m, byte(len(number))), number...)
	}
	return m
}

// Follow implements ocsp.ChangeFeed.
func (b *Feed) Follow(ctx context.Context, f ocsp.FeedSink) error {
	if err := b.follow(ctx, f); err != nil {
		return fmt.Errorf("ocspredis: follow: %w", err)
	}
	return nil
}

// follow listens on a connection of its own. Redis sends a connection what is published and what it asks for in
// one order, so that the answer to a PING proves that everything published before it was sent has come.
func (b *Feed) follow(ctx context.Context, f ocsp.FeedSink) (err error) {
	sub := b.client.Subscribe(ctx, b.channel)
	defer func() { _ = sub.Close() }() // it is gone either way
	// Receiving does not look at ctx while it waits.
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() })
	defer stop()
	defer func() {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	first, err := sub.ReceiveTimeout(ctx, b.maxLag)
	if err != nil {
		return err
	}
	if _, ok := first.(*redis.Subscription); !ok {
		return fmt.Errorf("a %T came before the subscription was confirmed", first)
	}
	f.Resync()
	for {
		sent, token := time.Now(), rand.Text()
		until := sent.Add(b.maxLag)
		if err := sub.Ping(ctx, token); err != nil {
			return err
		}
		switch err := b.receive(ctx, sub, f, until, token); {
		case errors.Is(err, errNothing):
			return errors.New("the server did not answer a PING in time")
		case err != nil:
			return err
		}
		f.ValidUntil(until)
		if err := b.receive(ctx, sub, f, sent.Add(b.maxLag/4), ""); !errors.Is(err, errNothing) {
			return err
		}
	}
}

// errNothing ends a time in which nothing more was to be received.
var errNothing = errors.New("ocspredis: nothing was received")

// receive passes on what comes until that time, and then returns errNothing, or until the answer to that PING.
func (b *Feed) receive(ctx context.Context, sub *redis.PubSub, f ocsp.FeedSink, until time.Time, token string) error {
	for {
		left := time.Until(until)
		if left <= 0 {
			return errNothing
		}
		m, err := sub.ReceiveTimeout(ctx, left)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil:
			return errNothing
		case err != nil:
			return err
		}
		switch m := m.(type) {
		case *redis.Message:
			b.pass([]byte(m.Payload), f)
		case *redis.Pong:
			if token != "" && m.Payload == token {
				return nil
			}
		default: // the client has connected anew by itself
			return fmt.Errorf("the connection was lost: a %T came", m)
		}
	}
}

// pass tells the follower what a message says. One that cannot be read may be about anything.
func (b *Feed) pass(sealed []byte, f ocsp.FeedSink) {
	m, err := b.keys.open(sealed, b.channel)
	if err != nil {
		f.Resync()
		return
	}
	issuerID, m, ok := cutText(m)
	var serials []*big.Int
	for ok && len(m) > 0 {
		var serial []byte
		serial, m, ok = cutText(m)
		serials = append(serials, fromOctets(serial))
	}
	if !ok {
		f.Resync()
		return
	}
	f.Changed(string(issuerID), serials...)
}
