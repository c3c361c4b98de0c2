package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/examples/kms/internal/cluster"
	"github.com/kmsocsp/ocsp/examples/kms/internal/counters"
)

// promise is what replicas promise about their answers.
//
// Without a feed an answer is a status that the store had between the question's invocation and its
// response. With one it is a status that the store had at most lag before the invocation, and each
// replica by itself promises more: its answers never go back, and changes made through it show in
// every question that begins after they returned.
//
// An answer that stands in for the store's is as old as what the replica last read, or, with a
// feed, as what it had heard lag before the store failed. It is only allowed while the store fails.
type promise struct {
	feed    bool
	lag     time.Duration // 0 without a feed
	outages []outage      // of the store
}

// outage is a time in which the store may have failed.
type outage struct{ from, to time.Duration }

// certificateModel is a certificate, one at a time: good, on hold, released and revoked. The input
// is a cluster.Op.
var certificateModel = porcupine.Model{
	Init: func() any { return "good" },
	Step: func(state, input, _ any) (bool, any) {
		op := input.(cluster.Op)
		from := map[cluster.Verb][]string{
			cluster.Hold: {"good", "released"}, cluster.Release: {"on hold"},
			cluster.Revoke: {"good", "released", "on hold"},
		}[op.Verb]
		to := map[cluster.Verb]string{
			cluster.Hold: "on hold", cluster.Release: "released", cluster.Revoke: "revoked",
		}[op.Verb]
		switch {
		case op.Verb == cluster.Ask && state == "released":
			return op.Status == cluster.Good, state
		case op.Verb == cluster.Ask:
			return op.Status == state, state
		case slices.Contains(from, state.(string)):
			return true, to
		default: // another attempt was made
			return op.Unconfirmed, state
		}
	},
	DescribeOperation: func(input, _ any) string {
		op := input.(cluster.Op)
		return strings.TrimSpace(fmt.Sprintf("%s %s", op.Verb, op.Status))
	},
	DescribeState: func(state any) string { return state.(string) },
}

// check returns an error with the history if it breaks the promise.
func (p promise) check(name string, replicas int, ops []cluster.Op) error {
	ops = thin(ops)
	earlier := func(op cluster.Op) cluster.Op {
		if op.Verb == cluster.Ask {
			op.Call = max(0, op.Call-p.lag)
		}
		return op
	}
	err := p.linearizable(name+", all replicas", ops, earlier)
	for r := 0; r < replicas && p.feed && err == nil; r++ {
		// The lag is now that of the changes: at the others they may show later than they returned.
		seen := slices.DeleteFunc(slices.Clone(ops), func(op cluster.Op) bool {
			return op.Verb == cluster.Ask && op.Replica != r
		})
		later := func(op cluster.Op) cluster.Op {
			if op.Verb != cluster.Ask && op.Replica != r && op.Return != cluster.Never {
				op.Return += p.lag
			}
			return op
		}
		err = p.linearizable(fmt.Sprintf("%s, replica %d", name, r+1), seen, later)
	}
	return err
}

// thin leaves out attempts at a change that got no reply, if there are more than a few: porcupine's
// time doubles with each. An earlier attempt through the same replica may be made whenever a later
// one may. The last one stays, which may have been refused.
func thin(ops []cluster.Op) (kept []cluster.Op) {
	const most = 6 // two through each replica
	attempts, last := map[cluster.Verb]int{}, map[cluster.Verb]int{}
	for i, op := range ops {
		last[op.Verb] = i
	}
	for i, op := range ops {
		if op.Unconfirmed {
			attempts[op.Verb]++
			if attempts[op.Verb] > most && i != last[op.Verb] {
				continue
			}
		}
		kept = append(kept, op)
	}
	return kept
}

// linearizable returns an error if a history is not linearizable after each call was widened.
func (p promise) linearizable(
	name string, ops []cluster.Op, widen func(cluster.Op) cluster.Op,
) error {
	var history []porcupine.Operation
	for i, op := range ops {
		op = p.standIn(widen(op))
		history = append(history, porcupine.Operation{
			ClientId: i, Input: op, Call: int64(op.Call), Return: int64(op.Return),
			Metadata: ops[i].String(),
		})
	}
	const patience = time.Minute // histories take a millisecond
	result, info := porcupine.CheckOperationsVerbose(certificateModel, history, patience)
	if result == porcupine.Ok {
		return nil
	}
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b cluster.Op) int { return cmp.Compare(a.Call, b.Call) })
	var text strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&text, op)
	}
	file, err := os.CreateTemp("", "history-*.html")
	if err != nil {
		return err
	}
	err = errors.Join(porcupine.Visualize(certificateModel, info, file), file.Close())
	const format = "%s: the history is not linearizable (%v), with a lag of %v and outages %v; " +
		"%s shows it:\n%s"
	return errors.Join(
		fmt.Errorf(format, name, result, p.lag, p.outages, file.Name(), &text), err)
}

// standIn widens the call of a question that was answered by a stand-in during an outage.
func (p promise) standIn(op cluster.Op) cluster.Op {
	for _, o := range p.outages {
		switch {
		case !op.Stale || op.Return < o.from || o.to < op.Call:
		case p.feed:
			op.Call = min(op.Call, max(0, o.from-p.lag))
		default:
			op.Call = 0
		}
	}
	return op
}

// serveReplica is serve for the replicas of tests: with a clock that may be wrong, and with the
// outcome of each answer in a header.
func serveReplica(ctx context.Context, dir string, _, stderr io.Writer) error {
	var now func() time.Time
	if ahead, err := time.ParseDuration(os.Getenv(cluster.AheadVariable)); err != nil {
		return err
	} else if ahead != 0 {
		now = func() time.Time { return time.Now().Add(ahead) }
	}
	k, err := openBy(ctx, dir, slog.New(slog.NewTextHandler(stderr, nil)), now)
	if err != nil {
		return err
	}
	if _, err := k.ca.IssueFirst(ctx, dir); err != nil {
		return errors.Join(err, k.close())
	}
	listener, err := net.Listen("tcp", k.cfg.Server.Listen)
	if err != nil {
		return errors.Join(err, k.close())
	}
	handler := k.handler()
	return k.serve(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event ocsp.Event
		ctx := counters.WithEvent(r.Context(), &event)
		handler.ServeHTTP(&outcomeWriter{w, &event}, r.WithContext(ctx))
	}))
}

// outcomeWriter adds the outcome of the answer to the header.
type outcomeWriter struct {
	http.ResponseWriter
	event *ocsp.Event
}

func (w *outcomeWriter) WriteHeader(code int) {
	if w.event.Outcome != 0 {
		w.Header().Set(cluster.OutcomeHeader, w.event.Outcome.String())
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *outcomeWriter) Write(p []byte) (int, error) {
	if w.Header().Get(cluster.OutcomeHeader) == "" {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *outcomeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestCheckFinds requires that the check of histories finds each of these violations, and no more
// than that.
func TestCheckFinds(t *testing.T) {
	const lag = 2 * time.Second
	at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
	change := func(verb cluster.Verb, replica, from, to int) cluster.Op {
		return cluster.Op{Verb: verb, Replica: replica, Call: at(from), Return: at(to)}
	}
	ask := func(replica, from, to int, status string) cluster.Op {
		op := change(cluster.Ask, replica, from, to)
		op.Status = status
		return op
	}
	stale := func(op cluster.Op) cluster.Op { op.Stale = true; return op }
	lost := func(op cluster.Op) cluster.Op {
		op.Return, op.Unconfirmed = cluster.Never, true
		return op
	}
	revoked := change(cluster.Revoke, 0, 10, 20)
	held, released := change(cluster.Hold, 0, 10, 20), change(cluster.Release, 1, 30, 40)
	reads, feed := promise{}, promise{feed: true, lag: lag}
	failing := func(p promise) promise { p.outages = []outage{{at(4000), at(5000)}}; return p }
	for _, test := range []struct {
		name string
		promise
		want bool
		ops  []cluster.Op
	}{
		{"good, then revoked", reads, true, []cluster.Op{
			ask(1, 5, 9, "good"), revoked, ask(1, 21, 22, "revoked"),
		}},
		{"good for a question asked before the revocation returned", reads, true, []cluster.Op{
			revoked, ask(1, 19, 40, "good"), ask(2, 15, 39, "revoked"),
		}},
		{"good after the revocation returned", reads, false, []cluster.Op{
			revoked, ask(1, 21, 22, "good"),
		}},
		{"good after somebody got revoked", reads, false, []cluster.Op{
			revoked, ask(1, 11, 12, "revoked"), ask(2, 13, 14, "good"),
		}},
		{"revoked before the revocation", reads, false, []cluster.Op{
			ask(1, 5, 9, "revoked"), revoked,
		}},
		{"unknown", reads, false, []cluster.Op{
			ask(1, 5, 9, "unknown"),
		}},
		{"held, released, revoked", reads, true, []cluster.Op{
			held, ask(2, 21, 22, "on hold"), released, ask(2, 41, 42, "good"),
			change(cluster.Revoke, 2, 50, 60), ask(0, 61, 62, "revoked"),
		}},
		{"good while on hold", reads, false, []cluster.Op{
			held, ask(2, 21, 22, "good"), released,
		}},
		{"on hold after the release", reads, false, []cluster.Op{
			held, released, ask(2, 41, 42, "on hold"),
		}},
		{"on hold after the revocation", reads, false, []cluster.Op{
			held, change(cluster.Revoke, 2, 50, 60), ask(0, 61, 62, "on hold"),
		}},
		{"a revocation without a reply, not made yet", reads, true, []cluster.Op{
			lost(revoked), ask(1, 3000, 3001, "good"), ask(1, 4000, 4001, "revoked"),
		}},
		{"a revocation without a reply, unmade", reads, false, []cluster.Op{
			lost(revoked), ask(1, 3000, 3001, "revoked"), ask(2, 4000, 4001, "good"),
		}},
		{"a revocation without a reply, and a second one", reads, true, []cluster.Op{
			lost(revoked), change(cluster.Revoke, 1, 30, 40), ask(2, 41, 42, "revoked"),
		}},
		{"200 revocations without a reply", reads, true, append(
			slices.Repeat([]cluster.Op{lost(revoked)}, 200),
			ask(1, 3000, 3001, "good"), ask(1, 4000, 4001, "revoked"),
		)},
		{"200 revocations without a reply, unmade", reads, false, append(
			slices.Repeat([]cluster.Op{lost(revoked)}, 200),
			ask(1, 3000, 3001, "revoked"), ask(2, 4000, 4001, "good"),
		)},
		{"two revocations", reads, false, []cluster.Op{
			revoked, change(cluster.Revoke, 1, 30, 40),
		}},
		{"a stand-in while the store fails", failing(reads), true, []cluster.Op{
			revoked, stale(ask(1, 4500, 4501, "good")),
		}},
		{"a stand-in while it does not", failing(reads), false, []cluster.Op{
			revoked, stale(ask(1, 5001, 5002, "good")),
		}},
		{"no stand-in while the store fails", failing(reads), false, []cluster.Op{
			revoked, ask(1, 4500, 4501, "good"),
		}},
		{"good within the lag", feed, true, []cluster.Op{
			revoked, ask(1, 2019, 2050, "good"),
		}},
		{"good after the lag", feed, false, []cluster.Op{
			revoked, ask(1, 2021, 2050, "good"),
		}},
		{"good at another replica after somebody got revoked", feed, true, []cluster.Op{
			revoked, ask(1, 30, 31, "revoked"), ask(2, 1000, 1001, "good"),
		}},
		{"good at a replica that answered revoked", feed, false, []cluster.Op{
			revoked, ask(1, 30, 31, "revoked"), ask(1, 40, 41, "good"),
		}},
		{"good at the replica that revoked", feed, false, []cluster.Op{
			revoked, ask(0, 21, 22, "good"),
		}},
		{"on hold where it was released", feed, false, []cluster.Op{
			held, released, ask(1, 41, 42, "on hold"),
		}},
		{"on hold elsewhere within the lag", feed, true, []cluster.Op{
			held, released, ask(0, 41, 42, "on hold"),
		}},
		{"good elsewhere before a hold that showed", feed, false, []cluster.Op{
			held, ask(2, 21, 22, "on hold"), ask(2, 23, 24, "good"),
			change(cluster.Revoke, 0, 50, 60),
		}},
		{"a stand-in for what was heard of", failing(feed), false, []cluster.Op{
			revoked, stale(ask(1, 4500, 4501, "good")),
		}},
		{"a stand-in for what was not heard of", failing(feed), true, []cluster.Op{
			change(cluster.Revoke, 0, 3000, 3500), stale(ask(1, 4900, 4901, "good")),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			err := test.check("planted", 3, test.ops)
			if got := err == nil; got != test.want {
				t.Errorf("the check passes: %v, want %v: %v", got, test.want, err)
			}
			if err == nil {
				return
			}
			_, file, _ := strings.Cut(err.Error(), "; ")
			file, _, _ = strings.Cut(file, " shows it:")
			text, readErr := os.ReadFile(file)
			if readErr != nil || !strings.Contains(string(text), "<html") {
				t.Errorf("the visualization in %s: error %v", file, readErr)
			}
			for _, op := range test.ops {
				if !strings.Contains(err.Error(), op.String()) {
					t.Errorf("the report lacks %q: %v", op, err)
				}
			}
		})
	}
}
