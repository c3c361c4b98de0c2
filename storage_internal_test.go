package ocsp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testOwner notes what gives way. Those in use otherwise stay as long as they are.
type testOwner struct {
	inUse  map[certKey]bool
	gone   []certKey
	before certKey
}

func (o *testOwner) used(key certKey) bool {
	used := o.inUse[key]
	delete(o.inUse, key)
	return used
}

func (o *testOwner) evicting(key certKey) { o.before = key }

func (o *testOwner) evicted(key certKey) {
	if key == o.before {
		o.gone = append(o.gone, key)
	}
}

func (o *testOwner) alive(w window) bool { return w.producedAt > 4 }

// TestStoragesAgree does the same to both storages and requires that they know the same, drop the same for it, and
// never hold more than they may.
func TestStoragesAgree(t *testing.T) {
	for _, max := range []int{1, 3, 50} {
		random := rand.New(rand.NewPCG(1, uint64(max)))
		var owners [2]*testOwner
		var both [2]storage
		for i := range both {
			owners[i] = &testOwner{inUse: map[certKey]bool{}}
			both[i] = newStorage(Storage(i), max, owners[i])
		}
		keys := make([]certKey, 2*max+1)
		for i := range keys {
			keys[i] = newCertKey(uint64(i%3), binary.BigEndian.AppendUint32(nil, uint32(i)))
		}
		status := func() certStatus {
			return certStatus{status: Status(random.IntN(2)), revokedAt: int64(random.IntN(2)), notAfter: 9, issued: true}
		}
		for range 2_000 {
			key := keys[random.IntN(len(keys))]
			before, known := both[0].head(key)
			switch random.IntN(8) {
			case 0, 1:
				h := head{found: found{status(), []string{"a", "b"}[random.IntN(2)]}, since: random.Uint64(), begun: random.Uint64(), checked: moment{time.Duration(random.Int()), time.Duration(random.Int())}}
				for _, s := range both {
					if known {
						s.update(key, h)
					} else {
						s.insert(key, h)
					}
				}
			case 2, 3, 4:
				k := kept{
					signature: bytes.Repeat([]byte{byte(random.Int())}, 1+random.IntN(600)),
					id:        replyID{signer: uint64(random.IntN(40) / 39), encoding: random.IntN(4)},
					window:    window{producedAt: random.Int64N(9), thisUpdate: random.Int64(), nextUpdate: random.Int64()},
				}
				binary.BigEndian.PutUint64(k.digest[:], random.Uint64())
				h, ok := both[0].add(key, before.status, k)
				other, also := both[1].add(key, before.status, k)
				require.Equal(t, ok, also)
				require.Equal(t, h, other)
			case 5:
				for _, s := range both {
					s.remove(key)
				}
			case 6:
				for _, s := range both {
					s.use(key)
				}
			case 7:
				for _, owner := range owners {
					owner.inUse[key] = true
				}
			}
			require.Equal(t, owners[0], owners[1])
			held := 0
			for _, key := range keys {
				h, ok := both[0].head(key)
				other, also := both[1].head(key)
				require.Equal(t, ok, also)
				require.Equal(t, h, other)
				if ok {
					held++
				}
			}
			require.LessOrEqual(t, held, max)
			asked := keys[random.IntN(len(keys))]
			h, _ := both[0].head(asked)
			id := replyID{signer: uint64(random.IntN(2)), encoding: random.IntN(4)}
			one, ok := both[0].reply(asked, h.status, id, nil)
			other, also := both[1].reply(asked, h.status, id, nil)
			require.Equal(t, ok, also)
			require.Equal(t, one, other)
		}
		compact := both[1].(*compactStorage)
		for _, key := range keys {
			compact.remove(key)
		}
		require.Len(t, compact.replies.free, compact.replies.count(), "a reply leaked")
		require.Len(t, compact.cells.free, compact.cells.count(), "a part of a signature leaked")
	}
}

// Serials of any length are told apart, and so are authorities.
func TestCertKey(t *testing.T) {
	seen := map[certKey]bool{}
	for authority := range uint64(3) {
		for _, serial := range [][]byte{{0}, {0, 0x80}, {0x80}, {1}, {1, 0}, make([]byte, maxKeySerial), make([]byte, maxKeySerial+1), make([]byte, 1000)} {
			key := newCertKey(authority*300, serial)
			require.False(t, seen[key])
			seen[key] = true
		}
	}
}

// BenchmarkStorage tells the memory that a certificate with an answer of 500 octets takes: an RSA-2048 signature is
// 256 of them, and the rest is written anew. It also tells what one garbage collection costs then.
func BenchmarkStorage(b *testing.B) {
	const entries = 1_000_000
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, kind := range map[string]Storage{"go-cache": StorageGoCache, "compact": StorageCompact} {
		for signature, size := range map[string]int{"RSA-2048": 256, "P-256": 72} {
			b.Run(name+"/"+signature, func(b *testing.B) {
				before := memory()
				s := newStorage(kind, entries, &testOwner{})
				for i := range entries {
					key := newCertKey(1, binary.BigEndian.AppendUint64(make([]byte, 8, 16), uint64(i)))
					s.insert(key, head{found: found{certStatus{issued: true}, "ca"}})
					s.add(key, certStatus{issued: true}, kept{signature: make([]byte, size)})
				}
				perEntry := float64(memory()-before) / entries
				for b.Loop() {
					runtime.GC()
				}
				b.ReportMetric(perEntry, "B/entry")
				runtime.KeepAlive(s)
			})
		}
	}
}
