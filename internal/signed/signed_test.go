package signed

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// status has the size and the kind of fields of the root's.
type status struct {
	status, reason uint8
	issued         bool
	revokedAt      int64
	_, _           int64 // invalidityDate, notAfter
}

var good, revoked = status{issued: true}, status{status: 1, issued: true, revokedAt: 7}

func both(t *testing.T, max int, f func(t *testing.T, m *Memory[status])) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact=%t", compact), func(t *testing.T) {
			t.Parallel()
			f(t, New[status](Options{Max: max, Compact: compact}))
		})
	}
}

func certificate(i int) (c [28]byte) {
	binary.BigEndian.PutUint64(c[:], uint64(i))
	return c
}

// answer returns an answer about certificate 0 whose life is from thisUpdate for 100 units.
func answer(encoding uint32, signer uint64, s status, thisUpdate int64) Answer[status] {
	a := Answer[status]{ID: ID[status]{Encoding: encoding, Signer: signer, Status: s}}
	a.Life = Life{ThisUpdate: thisUpdate, ProducedAt: thisUpdate, RefreshAt: thisUpdate + 50*unit, NextUpdate: thisUpdate + 100*unit}
	binary.BigEndian.PutUint64(a.Digest[:], uint64(thisUpdate)<<8|signer)
	a.Signature = bytes.Repeat([]byte{byte(thisUpdate)}, 1+int(thisUpdate+int64(signer))%600)
	return a
}

// unit is so long that go-cache's clock does not matter.
const unit = 1000

// TestRules adds answers to both stores, and requires which of them are refused and which stay.
func TestRules(t *testing.T) {
	type step struct {
		answer  Answer[status]
		now     int64
		refused bool
		outdate bool
	}
	add := func(encoding uint32, signer uint64, s status, at int64) step {
		return step{answer: answer(encoding, signer, s, at*unit), now: at * unit}
	}
	at := func(now int64, s step) step { s.now = now * unit; return s }
	no := func(s step) step { s.refused = true; return s }
	outdate := func(s status, at int64) step {
		return step{answer: answer(0, 0, s, at*unit), outdate: true}
	}
	for _, tc := range []struct {
		name  string
		steps []step
		stay  []int // the steps whose answers stay
	}{
		{"whole identity", []step{add(0, 1, good, 10), add(1, 1, good, 10), add(0, 2, good, 10), add(0, 1, revoked, 10)}, []int{0, 1, 2, 3}},
		{"renewed", []step{add(0, 1, good, 10), add(0, 1, good, 11)}, []int{1}},
		{"renewed in the same second", []step{add(0, 1, good, 10), add(0, 1, good, 10)}, []int{1}},
		{"a renewal of an older read", []step{add(0, 1, good, 11), at(11, no(add(0, 1, good, 10)))}, []int{0}},
		{"a renewal leaves other encodings", []step{add(0, 1, good, 10), add(1, 1, good, 11)}, []int{0, 1}},
		{"another signer renews", []step{add(0, 1, good, 10), add(0, 2, good, 11)}, []int{1}},
		{"another signer of an older read", []step{add(0, 1, good, 11), at(11, add(0, 2, good, 10))}, []int{0, 1}},
		{"and then renewed", []step{add(0, 1, good, 11), at(11, add(0, 2, good, 10)), add(0, 2, good, 12)}, []int{2}},
		{"a change", []step{add(0, 1, good, 10), add(0, 1, revoked, 11)}, []int{1}},
		{"a change outdates every encoding", []step{add(0, 1, good, 10), add(1, 1, good, 10), add(2, 1, revoked, 11)}, []int{2}},
		{"hold and release", []step{add(0, 1, good, 10), add(0, 1, revoked, 11), at(12, no(add(0, 1, good, 10))), add(0, 1, good, 12)}, []int{3}},
		{"late about another status", []step{add(0, 1, revoked, 11), at(12, no(add(0, 2, good, 10)))}, []int{0}},
		{"late in another encoding", []step{add(0, 1, revoked, 11), at(12, no(add(1, 1, good, 10)))}, []int{0}},
		{"the later of two signers still guards", []step{add(0, 1, good, 12), at(12, add(0, 2, good, 10)), at(12, no(add(0, 2, revoked, 11)))}, []int{0, 1}},
		{"late by another signer after a change back", []step{add(0, 1, revoked, 10), add(0, 1, good, 12), at(12, add(0, 2, good, 11)), at(12, no(add(0, 3, good, 9)))}, []int{1, 2}},
		{"and after two", []step{add(0, 1, revoked, 10), add(0, 1, good, 12), add(0, 1, revoked, 14), at(14, no(add(0, 2, revoked, 11))), add(1, 1, good, 16), at(16, no(add(0, 2, good, 13))), at(16, add(0, 2, good, 15))}, []int{4, 6}},
		{"five of one second", []step{add(0, 1, good, 10), add(0, 2, good, 10), add(0, 3, good, 10), add(0, 4, good, 10), add(1, 1, good, 10), add(0, 5, good, 10)}, []int{1, 2, 3, 4, 5}},
		{"over", []step{add(0, 1, good, 110), at(120, add(0, 1, good, 10)), at(250, add(1, 1, revoked, 200))}, []int{2}},
		{"what is over blocks nothing", []step{add(0, 1, revoked, 101), at(201, add(0, 1, good, 101))}, []int{0}},
		{"set back", []step{add(0, 1, good, 100), add(1, 1, good, 100), add(0, 1, revoked, 50)}, []int{2}},
		{"set back, the same identity", []step{add(0, 1, good, 100), add(0, 1, good, 50)}, []int{1}},
		{"from the future", []step{add(0, 1, good, 10), at(9, add(0, 1, good, 20))}, []int{0}},
		{"outdated", []step{add(0, 1, good, 10), add(1, 2, good, 10), outdate(revoked, 11)}, nil},
		{"outdated in part", []step{add(0, 1, good, 10), add(1, 1, revoked, 10), outdate(revoked, 11)}, []int{1}},
		{"late after it was outdated", []step{add(0, 1, good, 10), outdate(revoked, 12), at(12, no(add(0, 1, good, 11))), add(0, 1, good, 12)}, []int{3}},
		{"outdated twice", []step{add(0, 1, good, 10), outdate(revoked, 12), outdate(good, 14), at(14, no(add(0, 1, revoked, 13))), at(14, no(add(0, 1, good, 11))), at(14, add(0, 1, good, 13))}, []int{5}},
		{"not outdated", []step{add(0, 1, good, 10), outdate(revoked, 10), outdate(good, 11)}, []int{0}},
		{"outdated and added again", []step{add(0, 1, good, 10), outdate(revoked, 11), add(0, 1, good, 12)}, []int{2}},
		{"nothing to outdate", []step{outdate(good, 10)}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, 2, func(t *testing.T, m *Memory[status]) {
				for i, s := range tc.steps {
					if s.outdate {
						m.Outdate(&s.answer.Certificate, s.answer.Status, s.answer.ThisUpdate)
						continue
					}
					require.Equal(t, !s.refused, m.Add(s.answer, s.now), "step %d", i)
				}
				var stay []Answer[status]
				for _, i := range tc.stay {
					stay = append(stay, tc.steps[i].answer)
				}
				require.ElementsMatch(t, stay, stored(m, 1))
			})
		})
	}
}

// stored returns all answers about a number of certificates, and finds each of them.
func stored(m *Memory[status], certificates int) (all []Answer[status]) {
	for i := range certificates {
		for _, listed := range slices.Clone(m.store.list(certificate(i))) {
			if listed.Encoding == tombstone {
				continue
			}
			if a, ok := m.Find(&listed.ID, nil); ok {
				all = append(all, a)
			}
		}
	}
	return all
}

func TestAlive(t *testing.T) {
	l := Life{ThisUpdate: 1, ProducedAt: 2, RefreshAt: 5, NextUpdate: 9}
	for now, alive := range map[int64]bool{1: false, 2: true, 8: true, 9: false} {
		require.Equal(t, alive, l.Alive(now))
	}
}

// Nobody makes the memory of one certificate grow, and the answers that stay are the latest.
func TestBoundOfOneCertificate(t *testing.T) {
	both(t, 2, func(t *testing.T, m *Memory[status]) {
		for i := range 1000 {
			a := answer(uint32(i/3), uint64(i%3), good, int64(i)*10)
			a.NextUpdate = math.MaxInt64
			require.True(t, m.Add(a, a.ProducedAt))
			_, ok := m.Find(&a.ID, nil)
			require.True(t, ok)
		}
		all := stored(m, 1)
		require.Len(t, all, maxPerCertificate)
		for _, a := range all {
			require.GreaterOrEqual(t, a.ThisUpdate, int64(1000-3*maxPerCertificate)*10)
		}
	})
}

// A certificate that is used stays, and there are never more than Max.
func TestEviction(t *testing.T) {
	both(t, 10, func(t *testing.T, m *Memory[status]) {
		used := answer(0, 1, good, unit)
		require.True(t, m.Add(used, unit))
		for i := range 300 {
			a := answer(0, 1, good, unit)
			a.Certificate = certificate(1 + i)
			require.True(t, m.Add(a, unit))
			require.Len(t, m.store.list(a.Certificate), 1)
			_, ok := m.Find(&used.ID, nil)
			require.True(t, ok)
			count := 0
			for i := range 301 {
				count += min(1, len(m.store.list(certificate(i))))
			}
			require.LessOrEqual(t, count, 10)
			if i%7 == 0 {
				m.Outdate(&a.Certificate, revoked, 2*unit)
			}
		}
	})
}

// The default store does not return what has expired. The slots of expired certificates are reused,
// also when they were added again meanwhile.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New[status](Options{Max: 4})
		add := func(i int, seconds int64) ID[status] {
			now := time.Now().Unix()
			a := answer(0, 1, good, now)
			a.Certificate, a.NextUpdate = certificate(i), now+seconds
			require.True(t, m.Add(a, now))
			return a.ID
		}
		requireFound := func(id ID[status], expected bool) {
			t.Helper()
			_, ok := m.Find(&id, nil)
			require.Equal(t, expected, ok)
		}
		short, long := add(0, 10), add(1, math.MaxInt64/2)
		time.Sleep(9 * time.Second)
		requireFound(short, true)
		time.Sleep(2 * time.Second)
		requireFound(short, false)
		requireFound(long, true)

		// Of several answers, the last to expire counts, and outdating one does not prolong it.
		late, early := answer(0, 1, revoked, time.Now().Unix()), answer(0, 1, good, time.Now().Unix())
		late.NextUpdate, early.NextUpdate = late.ThisUpdate+20, late.ThisUpdate+10
		early.ThisUpdate--
		require.True(t, m.Add(early, early.ProducedAt))
		require.True(t, m.Add(late, late.ProducedAt))
		requireFound(late.ID, true)
		both := answer(0, 2, revoked, late.ThisUpdate)
		both.NextUpdate = late.ThisUpdate + 10
		require.True(t, m.Add(both, both.ProducedAt))
		m.Outdate(&both.Certificate, good, late.ThisUpdate)
		time.Sleep(19 * time.Second)
		requireFound(late.ID, true)
		time.Sleep(2 * time.Second)
		requireFound(late.ID, false)

		// Certificate 0 expires and comes back until every slot was its own.
		for range 20 {
			id := add(0, 1)
			requireFound(id, true)
			time.Sleep(2 * time.Second)
		}
		ids := []ID[status]{add(0, 100), add(2, 100), add(3, 100), add(4, 100)}
		for _, id := range ids {
			requireFound(id, true)
		}
		require.Equal(t, 4, m.store.(*cache[status]).items.ItemCount())
	})
}

// reference keeps the rules in the plainest way, for any number of certificates.
type reference []Answer[status]

// take removes the answers for which f reports true.
func (r *reference) take(f func(b Answer[status]) bool) (taken reference) {
	var rest reference
	for _, b := range *r {
		if f(b) {
			taken = append(taken, b)
		} else {
			rest = append(rest, b)
		}
	}
	*r = rest
	return taken
}

func latest(a, b Answer[status]) int { return cmp.Compare(a.ThisUpdate, b.ThisUpdate) }

func (r *reference) add(a Answer[status], now int64) bool {
	if !a.Alive(now) {
		return true
	}
	others := r.take(func(b Answer[status]) bool { return b.Certificate != a.Certificate })
	defer func() { *r = append(*r, others...) }()
	for _, b := range *r {
		if b.Alive(now) && b.ThisUpdate > a.ThisUpdate && (b.Status != a.Status || b.ID == a.ID) {
			return false
		}
	}
	r.take(func(b Answer[status]) bool {
		same := b.Status == a.Status && (b.Encoding == a.Encoding || b.Encoding == tombstone)
		return !b.Alive(now) || b.ID == a.ID || same && b.ThisUpdate < a.ThisUpdate
	})
	r.outdated(a)
	encoding := r.take(func(b Answer[status]) bool { return b.Encoding == a.Encoding })
	slices.SortStableFunc(encoding, latest)
	*r = append(append(*r, encoding[max(0, len(encoding)-3):]...), a)
	return true
}

// outdated buries what attests another status, and reports whether there was any.
func (r *reference) outdated(a Answer[status]) bool {
	old := r.take(func(b Answer[status]) bool { return b.Status != a.Status && b.ThisUpdate < a.ThisUpdate })
	if len(old) == 0 {
		return false
	}
	t := slices.MaxFunc(old, latest)
	t.Encoding, t.Signature = tombstone, nil
	*r = append(*r, t)
	return true
}

func (r *reference) outdate(certificate [28]byte, s status, thisUpdate int64) {
	others := r.take(func(b Answer[status]) bool { return b.Certificate != certificate })
	t := Answer[status]{ID: ID[status]{certificate, tombstone, 0, s}, Life: Life{ThisUpdate: thisUpdate, ProducedAt: thisUpdate}}
	for _, b := range *r {
		if b.Status != s && b.ThisUpdate < thisUpdate {
			t.NextUpdate = max(t.NextUpdate, b.NextUpdate)
		}
	}
	if r.outdated(t) {
		r.take(func(b Answer[status]) bool {
			return b.Encoding == tombstone && b.Status == s && b.ThisUpdate < thisUpdate
		})
		*r = append(*r, t)
	}
	*r = append(*r, others...)
}

// answers returns all but the tombstones.
func (r reference) answers() reference {
	r.take(func(b Answer[status]) bool { return b.Encoding == tombstone })
	return r
}

// requireSame requires the same answers in any order.
func requireSame(t *testing.T, expected, actual []Answer[status]) {
	if len(expected) != len(actual) {
		t.Fatalf("%d answers instead of %d", len(actual), len(expected))
	}
	for _, a := range actual {
		i := slices.IndexFunc(expected, func(e Answer[status]) bool { return e.ID == a.ID })
		if i < 0 || expected[i].Life != a.Life || !bytes.Equal(expected[i].Signature, a.Signature) {
			t.Fatalf("not expected: %v", a)
		}
	}
}

// TestModel does the same at random to both stores and to the reference. The clock goes both ways.
func TestModel(t *testing.T) {
	t.Parallel()
	statuses := []status{good, revoked, {status: 1, reason: 6, issued: true}}
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(1, seed))
		var expected reference
		memories := []*Memory[status]{New[status](Options{Max: 5}), New[status](Options{Max: 5, Compact: true})}
		now := int64(1000)
		for range 2000 {
			if now += random.Int64N(3); random.IntN(300) == 0 {
				now -= random.Int64N(200)
			}
			id := ID[status]{certificate(random.IntN(5)), uint32(random.IntN(3)), uint64(random.IntN(3)), statuses[random.IntN(3)]}
			thisUpdate := (now - random.Int64N(5)) * unit
			if random.IntN(10) == 0 {
				expected.outdate(id.Certificate, id.Status, thisUpdate)
				for _, m := range memories {
					m.Outdate(&id.Certificate, id.Status, thisUpdate)
				}
			} else {
				a := answer(id.Encoding, id.Signer, id.Status, thisUpdate)
				a.ID, a.ProducedAt, a.NextUpdate = id, now*unit, (now+random.Int64N(40))*unit
				stored := expected.add(a, now*unit)
				for _, m := range memories {
					require.Equal(t, stored, m.Add(a, now*unit))
				}
			}
			for _, m := range memories {
				requireSame(t, expected.answers(), stored(m, 5))
			}
		}
		requireNoLeak(t, memories[1])
	}
}

// requireNoLeak evicts everything, and requires that all is free then.
func requireNoLeak(t *testing.T, m *Memory[status]) {
	c := m.store.(*compact[status])
	for n := range c.certificates.taken {
		c.evict(n + 1)
	}
	require.Len(t, c.answers.free, int(c.answers.taken))
	require.Len(t, c.cells.free, int(c.cells.taken))
	for _, first := range c.buckets {
		require.Zero(t, first)
	}
}

// TestStoresAgree evicts much, and requires the same of both stores.
func TestStoresAgree(t *testing.T) {
	t.Parallel()
	for _, max := range []int{0, 1, 3, 50} {
		random := rand.New(rand.NewPCG(2, uint64(max)))
		a, b := New[status](Options{Max: max}), New[status](Options{Max: max, Compact: true})
		certificates := 2*max + 2
		for now := int64(9 * unit); now < 1000*unit; now += unit / 2 {
			x := answer(uint32(random.IntN(2)), uint64(random.IntN(2)), []status{good, revoked}[random.IntN(2)], now-random.Int64N(3)*unit)
			x.Certificate, x.ProducedAt = certificate(random.IntN(certificates)), now
			switch random.IntN(4) {
			case 0:
				a.Outdate(&x.Certificate, x.Status, x.ThisUpdate)
				b.Outdate(&x.Certificate, x.Status, x.ThisUpdate)
			case 1:
				one, ok := a.Find(&x.ID, nil)
				other, also := b.Find(&x.ID, nil)
				require.Equal(t, ok, also)
				if ok {
					requireSame(t, []Answer[status]{one}, []Answer[status]{other})
				}
			default:
				require.Equal(t, a.Add(x, now), b.Add(x, now))
			}
			require.Equal(t, a.store.list(x.Certificate) == nil, len(b.store.list(x.Certificate)) == 0)
		}
		require.Equal(t, stored(a, certificates), stored(b, certificates))
		requireNoLeak(t, b)
	}
}

// TestNoStepBack plays requests that overlap: each reads a status, signs and adds, and sends if that is
// not refused. What is sent, or looked up later, is never older than what was sent about another status.
func TestNoStepBack(t *testing.T) {
	both(t, 1, func(t *testing.T, m *Memory[status]) {
		random := rand.New(rand.NewPCG(3, 3))
		statuses := []status{good, revoked}
		newest := map[status]int64{}
		sent := func(a Answer[status], now int64) {
			for s, thisUpdate := range newest {
				require.False(t, s != a.Status && thisUpdate > a.ThisUpdate, "sent %d after %d", a.ThisUpdate, thisUpdate)
			}
			newest[a.Status] = max(newest[a.Status], a.ThisUpdate)
		}
		refused := 0
		for now := int64(9 * unit); now < 5000*unit; now += random.Int64N(2 * unit) {
			id := ID[status]{Encoding: uint32(random.IntN(2)), Signer: uint64(random.IntN(2)), Status: statuses[random.IntN(2)]}
			if a, ok := m.Find(&id, nil); ok && a.Alive(now) {
				sent(a, now)
				continue
			}
			a := answer(id.Encoding, id.Signer, id.Status, (now/unit-random.Int64N(4))*unit)
			if a.ProducedAt = now; m.Add(a, now) {
				sent(a, now)
			} else {
				refused++
			}
		}
		require.NotZero(t, refused)
	})
}

// TestConcurrency is for the race detector. Each answer that is returned is whole.
func TestConcurrency(t *testing.T) {
	both(t, 8, func(t *testing.T, m *Memory[status]) {
		var group sync.WaitGroup
		for worker := range 4 {
			group.Go(func() {
				random := rand.New(rand.NewPCG(4, uint64(worker)))
				room := make([]byte, 0, 1000)
				for i := range 3000 {
					at := int64(1+i) * 10
					a := answer(uint32(random.IntN(3)), uint64(random.IntN(2)), []status{good, revoked}[random.IntN(2)], at)
					a.Certificate = certificate(random.IntN(16))
					switch random.IntN(8) {
					case 0:
						m.Outdate(&a.Certificate, a.Status, at)
					case 1, 2, 3:
						m.Add(a, at)
					default:
						if b, ok := m.Find(&a.ID, room); ok {
							expected := answer(b.Encoding, b.Signer, b.Status, b.ThisUpdate)
							expected.Certificate = a.Certificate
							if !bytes.Equal(expected.Signature, b.Signature) || expected.Digest != b.Digest || b.ID != a.ID {
								t.Errorf("not what was added: %v", b)
								return
							}
						}
					}
				}
			})
		}
		group.Wait()
	})
}

// fill returns a Memory with an answer about each of n certificates.
func fill(compact bool, n, size int) *Memory[status] {
	m := New[status](Options{Max: n, Compact: compact})
	for i := range n {
		a := answer(0, 1, good, unit)
		a.Certificate, a.Signature = certificate(i), make([]byte, size)
		m.Add(a, unit)
	}
	return m
}

func TestAllocations(t *testing.T) {
	for _, compact := range []bool{false, true} {
		m := New[status](Options{Max: 1, Compact: compact})
		a := answer(0, 1, good, unit)
		a.Signature = make([]byte, 256)
		m.Add(a, unit)
		room := make([]byte, 0, 512)
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = m.Find(&a.ID, room) }))
	}
}

// BenchmarkMemory reports the heap for each certificate with one answer, and what one collection of
// the garbage costs then.
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, compact := range []bool{false, true} {
		for name, size := range map[string]int{"RSA-2048": 256, "P-256": 72} {
			for _, n := range []int{100_000, 1_000_000} {
				b.Run(fmt.Sprintf("compact=%t/%s/%d", compact, name, n), func(b *testing.B) {
					before := heap()
					m := fill(compact, n, size)
					each := float64(heap()-before) / float64(n)
					for b.Loop() {
						runtime.GC()
					}
					b.ReportMetric(each, "B/certificate")
					runtime.KeepAlive(m)
				})
			}
		}
	}
}

func BenchmarkFind(b *testing.B) {
	for _, compact := range []bool{false, true} {
		for _, n := range []int{1, 100_000} {
			b.Run(fmt.Sprintf("compact=%t/%d", compact, n), func(b *testing.B) {
				m := fill(compact, n, 256)
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					id, room := answer(0, 1, good, unit).ID, make([]byte, 0, 256)
					for i := 0; pb.Next(); i++ {
						id.Certificate = certificate(i * 7919 % n)
						if _, ok := m.Find(&id, room); !ok {
							b.Error("absent")
						}
					}
				})
			})
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, compact := range []bool{false, true} {
		b.Run(fmt.Sprintf("compact=%t", compact), func(b *testing.B) {
			m := fill(compact, 10_000, 256)
			a := answer(0, 1, good, unit)
			a.Signature = make([]byte, 256)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				a.Certificate = certificate(i % 20_000)
				m.Add(a, unit)
			}
		})
	}
}
