package ocsp

import (
	"maps"
	"runtime"

	"github.com/kmsocsp/ocsp/internal/hostcall"
)

// budget is how many signatures of one key that can hang, or of all of Go's own keys, may be under way and may wait.
type budget struct {
	all         *hostcall.Lane
	uncacheable *hostcall.Lane // a part of all, for answers that cannot be cached
}

// budgets are those of all keys. No two share anything, so that a key that hangs holds up no other.
//
// A budget belongs to the public key and not to the crypto.Signer: another Signer for the key, such as with a renewed
// certificate, signs in the same HSM, where calls that hang are still under way. Go's own keys cannot hang and share
// the processors, so they share a budget.
type budgets struct {
	opts     SigningOptions
	goKeys   *budget
	external map[string]*budget // by SubjectPublicKeyInfo
}

func newBudgets(opts SigningOptions) budgets {
	return budgets{opts, newBudget(opts, max(1, runtime.GOMAXPROCS(0)/2)), map[string]*budget{}}
}

// newBudget returns a budget in which at most uncacheable signatures at a time are for answers that cannot be cached.
func newBudget(opts SigningOptions, uncacheable int) *budget {
	n := opts.MaxConcurrent
	uncacheable = min(uncacheable, max(1, n/4*3+n%4*3/4)) // three times n may overflow
	all := hostcall.NewLane(n, opts.MaxWaiting)
	return &budget{all: all, uncacheable: all.Part(uncacheable, opts.MaxWaiting/2)}
}

// of returns the budget of a signer's key.
func (b *budgets) of(s *signer) *budget {
	if !s.external {
		return b.goKeys
	}
	key := string(s.certificate.RawSubjectPublicKeyInfo)
	if b.external[key] == nil {
		b.external[key] = newBudget(b.opts, b.opts.MaxConcurrent)
	}
	return b.external[key]
}

// prune drops the budgets of keys that none of these issuers has, once no call is under way.
func (b *budgets) prune(issuers []*issuer) {
	used := map[*budget]bool{}
	for _, iss := range issuers {
		used[iss.signer.budget] = true
	}
	maps.DeleteFunc(b.external, func(_ string, one *budget) bool { return !used[one] && one.all.Idle() })
}
