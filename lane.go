package ocsp

import (
	"maps"
	"runtime"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// lane is the budget for the signatures of one key that can hang, or of all of Go's own keys.
type lane struct {
	all   *hostcall.Lane
	extra *hostcall.Lane // of all, those that answers which cannot be cached may take
}

// lanes are the budgets of all keys. Nothing is shared by two of them, so that a key that hangs holds up no other.
//
// A lane belongs to the public key and not to the crypto.Signer: another Signer for the key, such as with a renewed
// certificate, signs in the same HSM, where calls that hang are still under way. Go's own keys cannot hang and share
// the processors, so they share a lane.
type lanes struct {
	opts   SigningOptions
	goKeys *lane
	opaque map[string]*lane // by SubjectPublicKeyInfo
}

func newLanes(opts SigningOptions) lanes {
	return lanes{opts, newLane(opts, max(1, runtime.GOMAXPROCS(0)/2)), map[string]*lane{}}
}

// newLane makes a lane in which at most extra signatures at a time are for answers that cannot be cached.
func newLane(opts SigningOptions, extra int) *lane {
	n := opts.MaxConcurrent
	extra = min(extra, max(1, n/4*3+n%4*3/4)) // three times n may overflow
	all := hostcall.NewLane(n, opts.MaxWaiting)
	return &lane{all: all, extra: all.Part(extra, opts.MaxWaiting/2)}
}

// of returns the lane of a signer's key.
func (l *lanes) of(s *signer) *lane {
	if !s.opaque {
		return l.goKeys
	}
	key := string(s.certificate.RawSubjectPublicKeyInfo)
	lane := l.opaque[key]
	if lane == nil {
		lane = newLane(l.opts, l.opts.MaxConcurrent)
		l.opaque[key] = lane
	}
	return lane
}

// prune drops the lanes of keys that none of these issuers has, once no call is under way.
func (l *lanes) prune(issuers []*issuer) {
	used := map[*lane]bool{}
	for _, iss := range issuers {
		used[iss.signer.lane] = true
	}
	maps.DeleteFunc(l.opaque, func(_ string, lane *lane) bool { return !used[lane] && lane.all.Idle() })
}
