package ocsptest

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp"
)

// changesPatience bounds the wait for what a feed should do soon.
const changesPatience = 10 * time.Second

// TestChangeFeed checks that feeds keep the contract of [ocsp.ChangeFeed]. It is given two that are connected to each
// other, as two replicas have them. It returns nil, or an error that joins all it found, each naming the check
// that failed.
func TestChangeFeed(a, b ocsp.ChangeFeed) error {
	if a == nil || b == nil {
		return errors.New("ocsptest: changes: a feed is nil")
	}
	var found []error
	for _, check := range []struct {
		name string
		run  func(a, b ocsp.ChangeFeed) error
	}{
		{"order of calls", checkChangesOrder},
		{"delivery", checkChangesDelivery},
		{"completeness", checkChangesComplete},
		{"end", checkChangesEnd},
	} {
		if err := check.run(a, b); err != nil {
			found = append(found, fmt.Errorf("ocsptest: changes: %s: %w", check.name, err))
		}
	}
	return errors.Join(found...)
}

// FeedSink is an ocsp.FeedSink that notes what it is told. It is safe for concurrent use.
type FeedSink struct {
	mu      sync.Mutex
	begun   int
	until   time.Time
	heard   []string
	early   bool          // vouched before there was a Resync
	changed chan struct{} // closed at the next call
}

var _ ocsp.FeedSink = (*FeedSink)(nil)

// NewFeedSink returns a FeedSink that has heard nothing.
func NewFeedSink() *FeedSink { return &FeedSink{changed: make(chan struct{})} }

func (f *FeedSink) note(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// Resync implements ocsp.FeedSink.
func (f *FeedSink) Resync() { f.note(func() { f.begun++; f.until = time.Time{} }) }

// ValidUntil implements ocsp.FeedSink.
func (f *FeedSink) ValidUntil(t time.Time) {
	f.note(func() { f.early, f.until = f.early || f.begun == 0, t })
}

// Changed implements ocsp.FeedSink.
func (f *FeedSink) Changed(issuerID string, serials ...*big.Int) {
	f.note(func() {
		for _, serial := range serials {
			f.heard = append(f.heard, issuerID+" "+serial.String())
		}
	})
}

// Resyncs returns how often Resync was called.
func (f *FeedSink) Resyncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begun
}

func (f *FeedSink) vouched() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.until
}

// Valid reports whether it is vouched for now.
func (f *FeedSink) Valid() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.until)
}

// Heard reports whether Changed was called for a certificate.
func (f *FeedSink) Heard(issuerID string, serial *big.Int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.heard, issuerID+" "+serial.String())
}

// Wait waits until a condition holds, looking after each call, and fails when it takes too long.
func (f *FeedSink) Wait(what string, condition func() bool) error {
	timeout := time.After(changesPatience)
	for {
		f.mu.Lock()
		changed := f.changed
		f.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("%s: not within %v", what, changesPatience)
		}
	}
}

// following follows a feed until stop is called, which returns what Follow did.
func following(c ocsp.ChangeFeed) (f *FeedSink, stop func() error) {
	f = NewFeedSink()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Follow(ctx, f) }()
	return f, func() error {
		cancel()
		select {
		case err := <-ended:
			if err == nil {
				return errors.New("the call of Follow returned no error")
			}
			return nil
		case <-time.After(changesPatience):
			return errors.New("the call of Follow does not return after its context has ended")
		}
	}
}

func checkChangesOrder(a, _ ocsp.ChangeFeed) error {
	f, stop := following(a)
	err := errors.Join(f.Wait("ValidUntil for a time to come", f.Valid), stop())
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.early {
		err = errors.Join(err, errors.New("a call of ValidUntil came before Resync"))
	}
	return err
}

// checkChangesDelivery publishes what is awkward: serials with the high bit set, negative ones, many at once,
// issuers with all sorts of characters.
func checkChangesDelivery(a, b ocsp.ChangeFeed) (err error) {
	var followers []*FeedSink
	for _, c := range []ocsp.ChangeFeed{a, b} {
		f, stop := following(c)
		defer func() { err = errors.Join(err, stop()) }()
		if err := f.Wait("Resync", func() bool { return f.Resyncs() > 0 }); err != nil {
			return err
		}
		followers = append(followers, f)
	}
	many := make([]*big.Int, 1000)
	for i := range many {
		many[i] = newSerial(16, i%2 == 0)
	}
	for issuer, serials := range map[string][]*big.Int{
		"ca":            {newSerial(20, true), newSerial(20, false), newSerial(1, true), new(big.Int)},
		"ca 2":          {new(big.Int).Neg(newSerial(8, false))},
		"ca\n\"'é\t漢* ": {newSerial(16, true)},
		"many":          many,
	} {
		if err := a.Publish(context.Background(), issuer, serials...); err != nil {
			return fmt.Errorf("the call of Publish for the issuer %q: %w", issuer, err)
		}
		for _, f := range followers {
			if err := f.Wait(fmt.Sprintf("all %d serials of the issuer %q", len(serials), issuer), func() bool {
				return !slices.ContainsFunc(serials, func(s *big.Int) bool { return !f.Heard(issuer, s) })
			}); err != nil {
				return err
			}
			if issuer == "ca" && f.Heard("ca 2", serials[0]) {
				return errors.New("a serial came under another issuer")
			}
		}
	}
	return nil
}

// checkChangesComplete requires that trust is never extended past a publication that was not heard.
func checkChangesComplete(a, b ocsp.ChangeFeed) (err error) {
	f, stop := following(b)
	defer func() { err = errors.Join(err, stop()) }()
	if err := f.Wait("a call of ValidUntil", f.Valid); err != nil {
		return err
	}
	for range 20 {
		serial := newSerial(16, false)
		if err := a.Publish(context.Background(), "ca", serial); err != nil {
			return err
		}
		// One proof may have been under way; a second one, asked for after Publish returned, must not pass it.
		for range 2 {
			until := f.vouched()
			if err := f.Wait("a change, or a longer trust", func() bool { return f.Heard("ca", serial) || f.vouched().After(until) }); err != nil {
				return err
			}
		}
		if !f.Heard("ca", serial) {
			return errors.New("a call of ValidUntil passed a change that had been published and not been heard")
		}
	}
	return nil
}

// checkChangesEnd requires that Follow ends with its context, also one that has ended before.
func checkChangesEnd(a, _ ocsp.ChangeFeed) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Follow(ctx, NewFeedSink()) }()
	select {
	case err := <-ended:
		if err == nil {
			return errors.New("the call of Follow returned no error")
		}
		return nil
	case <-time.After(changesPatience):
		return errors.New("the call of Follow does not return when its context has ended before")
	}
}
