package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
)

// Verb is what a client does to a certificate. The changes are the last part of a path of the API.
type Verb string

// The verbs.
const (
	Hold    Verb = "hold"
	Release Verb = "release"
	Revoke  Verb = "revoke"
	Ask     Verb = "ask"
)

// Question is how a client asks.
type Question int

// The kinds of questions.
const (
	Post Question = iota
	Get
	Nonce // by POST
	questions
)

// The statuses that answers have, and what a client sees of a server that sends none.
const (
	Good     = "good"
	OnHold   = "on hold"
	Revoked  = "revoked"
	TryLater = "try later"
	NoAnswer = "no answer"
)

// OutcomeHeader is a header in which the replicas of tests send the ocsp.Outcome of an answer.
const OutcomeHeader = "Ocsp-Outcome"

// Never is the Return of a change that may have been made, and may still be made.
const Never = time.Duration(math.MaxInt64)

// Op is a call of a client and its result, with the times of its invocation and its response since
// the beginning of the Cluster.
type Op struct {
	Verb         Verb
	Replica      int
	Call, Return time.Duration
	Status       string // of an answer
	Stale        bool   // the answer stood in for a store that did not answer
	Unconfirmed  bool   // one of several attempts at a change, of which one was made
}

func (o Op) String() string {
	end := "no reply"
	if o.Return != Never {
		end = fmt.Sprintf("%10.3f ms", float64(o.Return)/1e6)
	}
	text := fmt.Sprintf("%10.3f – %s  replica %d  %s %s",
		float64(o.Call)/1e6, end, o.Replica+1, o.Verb, o.Status)
	if o.Stale {
		text += " (stale)"
	}
	return strings.TrimSpace(text)
}

// Certificate is a certificate, which is good when it begins, with the history of the calls about
// it. It is safe for concurrent use.
type Certificate struct {
	UID  string
	Cert *x509.Certificate

	cluster *Cluster
	mu      sync.Mutex
	ops     []Op
	unknown []int     // in ops: attempts at the present change that no reply came to
	done    time.Time // when Round was done with it
}

// Issue issues a certificate through a replica.
func (c *Cluster) Issue(ctx context.Context, replica int) (*Certificate, error) {
	uid, cert, err := c.Replicas[replica].Certify(ctx)
	return &Certificate{UID: uid, Cert: cert, cluster: c}, err
}

// History returns the calls so far.
func (x *Certificate) History() []Op {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.ops)
}

// Ask asks a replica and returns what Replica.Query does.
func (x *Certificate) Ask(ctx context.Context, replica int, how Question) string {
	op := Op{Verb: Ask, Replica: replica, Call: x.cluster.Now()}
	op.Status, op.Stale = x.cluster.Replicas[replica].ask(ctx, x.Cert, how%questions)
	op.Return = x.cluster.Now()
	if op.Status != NoAnswer && op.Status != TryLater { // which say nothing about the certificate
		x.mu.Lock()
		defer x.mu.Unlock()
		x.ops = append(x.ops, op)
	}
	return op.Status
}

// Change makes a change through a replica, which the certificate's state must allow. After an error
// that IsRefused does not report the change may have been made, so the caller makes it again. If it
// is refused, it had been made: by an attempt before, or by this one, when the replica lost its
// connection to the store and tried again.
func (x *Certificate) Change(ctx context.Context, replica int, verb Verb) error {
	op := Op{Verb: verb, Replica: replica, Call: x.cluster.Now()}
	err := x.cluster.Replicas[replica].change(ctx, x.UID, verb)
	op.Return = x.cluster.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case err == nil:
		x.ops, x.unknown = append(x.ops, op), nil
	case IsRefused(err):
		for _, i := range x.unknown {
			x.ops[i].Return = op.Return
		}
		op.Unconfirmed = true
		x.ops, x.unknown = append(x.ops, op), nil
	default:
		op.Return, op.Unconfirmed = Never, true
		x.unknown = append(x.unknown, len(x.ops))
		x.ops = append(x.ops, op)
	}
	return err
}

// IsRefused reports whether an error of Change means that the certificate's state does not allow
// the change.
func IsRefused(err error) bool {
	var status *api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusConflict
}

// Now returns the time since the beginning.
func (c *Cluster) Now() time.Duration { return time.Since(c.begun) }
