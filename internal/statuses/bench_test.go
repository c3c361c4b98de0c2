package statuses_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/kmsocsp/ocsp/internal/statuses"
)

func TestAllocations(t *testing.T) {
	m := newMemory(nil)
	learn(t, m, key(1), now, 1)
	k, cold := key(1), key(2)
	learn(t, m, cold, now, 1)
	l := m.Look(k, now)
	m.Attach(&l, new(string))
	r := new(read)
	for name, f := range map[string]func(){
		"Look":         func() { l = m.Look(k, now) },
		"Look, no hot": func() { l = m.Look(cold, now) },
		"Read":         func() { ownRead(m, k, r, 1) },
		"Change":       func() { ownRead(m, cold, r, l.Status+1); l = m.Look(cold, now) },
		"Forget":       func() { m.Invalidate(cold); ownRead(m, cold, r, 1) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func ownRead(m *memory, k *statuses.Key, r *read, status int) {
	l := m.Look(k, now)
	if _, how := m.Begin(&l, now, now.Wall+1, r); how != statuses.Own {
		panic(how)
	}
	r.End(status, true, nil)
	r.Release()
	<-r.Done()
	if l, _ = r.Result(); !l.Stands() {
		panic("does not stand")
	}
	r.Release()
}

// status32 is as large as the root's.
type status32 [4]int64

func filled(n int) *statuses.Memory[status32, string] {
	m := statuses.New[status32, string](statuses.Options{
		Max: n, Hot: 16384, TTL: time.Hour, Patience: time.Second, Lease: true,
	})
	m.BeginLease()
	m.ExtendLease(at(1000))
	r := new(statuses.Read[status32, string])
	for i := range uint64(n) {
		k := key(i)
		l := m.Look(k, now)
		m.Begin(&l, now, 0, r)
		r.End(status32{}, true, nil)
		r.Release()
		r.Release()
	}
	return m
}

func BenchmarkLook(b *testing.B) {
	hot := filled(100)
	l := hot.Look(key(1), now)
	hot.Attach(&l, new(string))
	b.Run("Hot", func(b *testing.B) {
		b.ReportAllocs()
		for k := key(1); b.Loop(); {
			if l := hot.Look(k, now); !l.Trusted || l.Hot == nil || !l.Stands() {
				b.Fatal("not hot")
			}
		}
	})
	b.Run("HotParallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for k := key(1); pb.Next(); {
				if l := hot.Look(k, now); !l.Trusted || l.Hot == nil || !l.Stands() {
					b.Error("not hot")
				}
			}
		})
	})
	b.Run("Entry", func(b *testing.B) {
		for k := key(2); b.Loop(); {
			hot.Look(k, now)
		}
	})
	b.Run("EntryParallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for k := key(2); pb.Next(); {
				hot.Look(k, now)
			}
		})
	})
	many := filled(1_000_000)
	b.Run("Million", func(b *testing.B) {
		k := *key(0)
		for i := uint64(0); b.Loop(); i++ {
			n := i * 7919 % 1e6
			k = statuses.NewKey(1, []byte{0, 0, 0, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)})
			many.Look(&k, now)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	m := newMemory(func(o *options) { o.TTL = 0 })
	b.Run("One", func(b *testing.B) {
		b.ReportAllocs()
		r := new(read)
		for k := key(1); b.Loop(); {
			ownRead(m, k, r, 1)
		}
	})
	b.Run("Parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			k, r := key(uint64(time.Now().UnixNano())), new(read)
			for pb.Next() {
				ownRead(m, k, r, 1)
			}
		})
	})
}

func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := filled(n)
		runtime.GC()
		start := time.Now()
		runtime.GC()
		b.ReportMetric(float64(time.Since(start).Microseconds()), "µs/GC")
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/entry")
		runtime.KeepAlive(m)
	}
}
