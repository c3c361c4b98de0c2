package simulation

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"hash/maphash"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/internal/statuses"
	"github.com/kmsocsp/ocsp/ocsptest"
)

var random = rand.Reader

// authorities are the CAs of all worlds, with their delegates.
var authorities = func() (list []*authority) {
	life := ocsptest.Options{
		NotBefore: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:  time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	for _, name := range []string{"A", "B"} {
		life.Name = name
		a := &authority{id: name, ca: ocsptest.NewCA(life)}
		a.certs, a.keys = []*x509.Certificate{nil}, []crypto.Signer{a.ca.Key}
		for _, delegate := range []string{"first", "second"} {
			life.Name = name + " " + delegate
			cert, key := a.ca.Delegate(life)
			a.certs, a.keys = append(a.certs, cert), append(a.keys, key)
		}
		list = append(list, a)
	}
	return list
}()

// authority is a CA and those who sign for it: itself, and delegates.
type authority struct {
	id    string
	ca    *ocsptest.CA
	certs []*x509.Certificate
	keys  []crypto.Signer
}

// create makes the replicas and the certificates.
func (w *world) create() {
	w.issuers = authorities[:w.p.issuers]
	w.remote = &remote{w: w, values: map[string][]byte{}, former: map[string][]byte{}}
	for i := range w.p.reps {
		p := &replica{}
		w.reps = append(w.reps, p)
		cfg := ocsp.Config{
			Validity: time.Duration(20+w.n(100)) * time.Second, Backdate: w.p.backdate,
			Nonce: w.p.nonce, Unissued: w.p.unissued,
			Logger: slog.New(slog.DiscardHandler),
			Now:    func() time.Time { return w.clock(i) },
		}
		if w.p.brief {
			cfg.Validity = time.Duration(10+w.n(3)) * time.Second
		}
		if w.p.marked {
			cfg.Validity = 24 * time.Hour
		}
		if cfg.Cache.Disabled = w.p.disabled; !w.p.disabled {
			cfg.Cache.StatusTTL, cfg.Cache.Compact = w.p.ttl, w.p.compact
			cfg.Cache.FailClosed, cfg.Cache.StorePatience = w.p.failClosed, w.p.patience
			cfg.Cache.MaxEntries = 1000 + w.p.crowd
			if w.p.tiny {
				cfg.Cache.MaxEntries = 1
			}
		}
		if w.p.remote {
			cfg.Cache.Remote = w.remote
		}
		if w.p.feed {
			cfg.Cache.Feed = &feed{w, &op{id: -1 - i, rep: i, what: "follow"}}
		}
		for issuer := range w.issuers {
			p.signers, p.setting = append(p.signers, 0), append(p.setting, 0)
			p.stores = append(p.stores, &store{w: w})
			all := []ocsp.Issuer{w.issuer(p, issuer, 0)}
			if w.p.twins > 0 { // the CA has another ID, whose store has no certificates
				twin := all[0]
				twin.ID, twin.Store = twin.ID+" twin", &store{w: w, empty: true}
				if all = append(all, twin); w.p.twins == emptyFirst {
					slices.Reverse(all)
				}
			}
			cfg.Issuers = append(cfg.Issuers, all...)
		}
		var err error
		if p.r, err = ocsp.New(cfg); err != nil {
			panic(err)
		}
		if w.p.apart > 0 {
			w.number(p)
		}
	}
	for i := range w.p.crowd { // this goroutine belongs to no operation, so nothing blocks
		leaf := &x509.Certificate{SerialNumber: big.NewInt(int64(i) + 1)}
		der := ocsptest.Client{}.Request(w.issuers[0].ca.Certificate, leaf)
		w.reps[0].r.Respond(context.Background(), der)
	}
	for i, serial := range w.choose(w.p.serials) {
		for issuer, a := range w.issuers {
			c := &certificate{issuer: issuer, number: i, serial: serial}
			for j, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
				c.plain[j] = ocsptest.Client{Hash: hash}.Request(a.ca.Certificate, c.leaf())
			}
			if w.p.staples {
				c.issued = a.ca.Issue(ocsptest.Options{Signer: a.ca.Key, Serial: serial})
			}
			w.certs = append(w.certs, c)
			w.store(len(w.certs)-1, ocsp.Good, 0)
		}
	}
}

func (c *certificate) leaf() *x509.Certificate { return &x509.Certificate{SerialNumber: c.serial} }

// issuer returns the configuration of an issuer with that signer.
func (w *world) issuer(p *replica, issuer, signer int) ocsp.Issuer {
	a := w.issuers[issuer]
	key := a.keys[signer]
	if !w.p.goKeys {
		key = w.signer(key)
	}
	return ocsp.Issuer{
		ID: a.id, Certificate: a.ca.Certificate, ResponderCertificate: a.certs[signer],
		Signer: key, Store: p.stores[issuer],
	}
}

// number gives the issuers of a replica numbers that differ in one bit.
func (w *world) number(p *replica) {
	field := reflect.ValueOf(p.r).Elem().FieldByName("issuers").FieldByName("numbers")
	numbers := (*atomic.Uint64)(unsafe.Pointer(field.UnsafeAddr()))
	for issuer, a := range w.issuers {
		p.r.RemoveIssuer(a.id)
		numbers.Store(100 + uint64(issuer)<<w.p.apart)
		if err := p.r.SetIssuer(w.issuer(p, issuer, 0)); err != nil {
			panic(err)
		}
	}
}

// choose returns serials that lie in the memory of statuses in the same order in each world, or all
// on one stripe, so that the hash makes no difference to what is evicted and invalidated. Each has
// one octet of zeros more than the one before. Long ones are known to that memory by a hash.
func (w *world) choose(n int) (serials []*big.Int) {
	var seeds []maphash.Seed
	stripes := 0
	for _, p := range w.reps {
		m := reflect.ValueOf(p.r).Elem().FieldByName("memory").Elem()
		field := m.FieldByName("seed")
		seeds = append(seeds, *(*maphash.Seed)(unsafe.Pointer(field.UnsafeAddr())))
		stripes = m.FieldByName("stripes").Len()
	}
	size := 8
	if w.p.long {
		size = 28
	}
	content := make([]byte, size+n)
	fits := func() bool {
		for _, seed := range seeds {
			first := -1
			for i := range n {
				key := statuses.NewKey(0, content[:size+i])
				stripe := int(maphash.Bytes(seed, key[5:]) & uint64(stripes-1))
				if first < 0 {
					first = stripe
				}
				if w.p.neighbours && stripe != first || !w.p.neighbours && stripe*n/stripes != i {
					return false
				}
			}
		}
		return true
	}
	first := mathrand.Uint64()
	for next := first; next == first || !fits() && next != first+100_000; next++ {
		binary.BigEndian.PutUint64(content, next>>1|1<<62)
	}
	for i := range n {
		serials = append(serials, new(big.Int).SetBytes(content[:size+i]))
	}
	return serials
}
