package statuses_test

import (
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kmsocsp/ocsp/internal/statuses"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	memory  = statuses.Memory[int, string]
	look    = statuses.Look[int, string]
	read    = statuses.Read[int, string]
	moment  = statuses.Moment
	options = statuses.Options
)

var errStore = errors.New("store fails")

const patience = time.Second

func newMemory(change func(*options)) *memory {
	o := options{Max: 1000, Hot: 100, TTL: time.Hour, Patience: patience}
	if change != nil {
		change(&o)
	}
	return statuses.New[int, string](o)
}

func key(n uint64) *statuses.Key {
	k := statuses.NewKey(1, binary.BigEndian.AppendUint64(nil, n))
	return &k
}

func at(seconds int) moment {
	d := time.Duration(seconds) * time.Second
	return moment{Wall: d, Steady: d}
}

// now is when tests happen unless they say otherwise.
var now = at(100)

// begin begins a read of its own.
func begin(t testing.TB, m *memory, k *statuses.Key, now moment) *read {
	t.Helper()
	l, r := m.Look(k, now), new(read)
	_, how := m.Begin(&l, now, now.Wall+1, r) // nothing from before will do
	require.Equal(t, statuses.Own, how)
	return r
}

// learn records a status by a read of its own.
func learn(t testing.TB, m *memory, k *statuses.Key, now moment, status int) {
	t.Helper()
	r := begin(t, m, k, now)
	r.End(status, true, nil)
	<-r.Done()
	l, err := r.Result()
	require.NoError(t, err)
	require.True(t, l.Known)
	require.False(t, r.Release())
	require.True(t, r.Release())
}

func ended(r *read) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

func status(t testing.TB, r *read) int {
	t.Helper()
	require.True(t, ended(r))
	l, err := r.Result()
	require.NoError(t, err)
	return l.Status
}

func TestNewKey(t *testing.T) {
	long := make([]byte, 40)
	assert.Equal(t, statuses.NewKey(1, long), statuses.NewKey(1, long))
	assert.NotEqual(t, statuses.NewKey(1, long), statuses.NewKey(2, long))
	seen := map[statuses.Key]int{}
	for size := range 40 {
		k := statuses.NewKey(7, long[:size])
		assert.NotContains(t, seen, k)
		seen[k] = size
	}
	m := newMemory(nil)
	a, b := statuses.NewKey(1, long[:20]), statuses.NewKey(1<<40-1, long[:20])
	assert.NotEqual(t, a, b)
	assert.True(t, m.SameStripe(&a, &b))
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		name string
		now  moment
		want bool
	}{
		{"at once", moment{100, 50}, true},
		{"just within", moment{109, 59}, true},
		{"the wall clock has run out", moment{110, 50}, false},
		{"the steady clock has run out", moment{100, 60}, false},
		{"the wall clock was set back, but not to before", moment{101, 59}, true},
		{"the wall clock was set back to before", moment{99, 51}, false},
	} {
		assert.Equal(t, c.want, c.now.Within(10, moment{100, 50}), c.name)
	}
}

func TestTrust(t *testing.T) {
	t.Run("TTL", func(t *testing.T) {
		m := newMemory(nil)
		learn(t, m, key(1), at(100), 7)
		l := m.Look(key(1), at(3699))
		assert.Equal(t, []any{7, at(100), true, true}, []any{l.Status, l.At, l.Known, l.Trusted})
		l = m.Look(key(1), at(3700))
		assert.True(t, l.Known)
		assert.False(t, l.Trusted)
		assert.False(t, m.Look(key(1), at(99)).Trusted, "the clock was set back")
		learn(t, m, key(1), at(90), 8)
		assert.Equal(t, at(90), m.Look(key(1), at(99)).At, "an entry of the future is overwritten")
		assert.True(t, m.Look(key(1), at(99)).Trusted)
	})
	t.Run("without TTL", func(t *testing.T) {
		m := newMemory(func(o *options) { o.TTL = 0 })
		learn(t, m, key(1), now, 7)
		assert.True(t, m.Look(key(1), now).Known)
		assert.False(t, m.Look(key(1), now).Trusted)
	})
	t.Run("lease", func(t *testing.T) {
		m := newMemory(func(o *options) { o.Lease = true })
		for name, attach := range map[string]bool{"entry": false, "attached": true} {
			t.Run(name, func(t *testing.T) {
				m.EndLease()
				trusted := func() bool { return m.Look(key(1), now).Trusted }
				learn(t, m, key(1), now, 7)
				if attach {
					l := m.Look(key(1), now)
					m.Attach(&l, new(string))
				}
				assert.False(t, trusted(), "no lease")
				m.BeginLease()
				m.ExtendLease(at(200))
				assert.False(t, trusted(), "read before the lease")
				m.BeginLease()
				learn(t, m, key(1), now, 7)
				assert.False(t, trusted(), "the lease has no end yet")
				m.ExtendLease(at(200))
				early := begin(t, m, key(2), now)
				learn(t, m, key(1), now, 7)
				assert.True(t, trusted())
				assert.False(t, m.Look(key(1), moment{at(200).Wall, now.Steady}).Trusted, "wall clock")
				assert.False(t, m.Look(key(1), moment{now.Wall, at(200).Steady}).Trusted, "steady clock")
				m.ExtendLease(now)
				assert.False(t, trusted(), "the lease is over")
				m.ExtendLease(at(200))
				assert.True(t, trusted())
				m.EndLease()
				assert.False(t, trusted(), "ended")
				m.BeginLease()
				m.ExtendLease(at(200))
				assert.False(t, trusted(), "another lease")
				early.End(9, true, nil)
				assert.False(t, m.Look(key(2), now).Trusted, "a read has the lease of its beginning")
				learn(t, m, key(1), now, 7)
				assert.True(t, trusted())
			})
		}
	})
}

// One after the other, and Later than the request.
func TestReadsFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(func(o *options) { o.TTL = 0 })
		first := begin(t, m, key(1), now)

		var looks [3]look
		for i := range looks {
			looks[i] = m.Look(key(1), now)
			other, how := m.Begin(&looks[i], now, 0, new(read))
			require.Equal(t, statuses.Behind, how, "it began before the look")
			require.Same(t, first, other)
		}
		assert.Equal(t, patience, first.Outlasts())
		_, how := m.Begin(&looks[0], now, 0, new(read))
		assert.Equal(t, statuses.Behind, how, "it is still the same read")
		_ = begin(t, m, key(2), now) // another certificate

		first.End(1, true, nil)
		for range 4 {
			require.True(t, ended(first), "everybody who waits is woken")
		}
		second := new(read)
		_, how = m.Begin(&looks[1], now, 0, second)
		require.Equal(t, statuses.Own, how, "who waited first begins the next")
		other, how := m.Begin(&looks[0], now, 0, new(read))
		require.Equal(t, statuses.Joined, how)
		require.Same(t, second, other)
		late := m.Look(key(1), now)
		_, how = m.Begin(&late, now, 0, new(read))
		require.Equal(t, statuses.Behind, how)

		second.End(2, true, nil)
		assert.Equal(t, 2, status(t, second))
		third := new(read)
		_, how = m.Begin(&looks[2], now, 0, third)
		require.Equal(t, statuses.Own, how, "a slow request finds none in flight")
		third.End(3, true, nil)
		assert.Equal(t, 3, m.Look(key(1), now).Status)
	})
}

func TestOutlastingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(nil)
		slow := begin(t, m, key(1), now)
		l := m.Look(key(1), now)
		_, how := m.Begin(&l, now, now.Wall+1, new(read))
		require.Equal(t, statuses.Behind, how)
		time.Sleep(patience)
		assert.Zero(t, slow.Outlasts())
		next := new(read)
		_, how = m.Begin(&l, now, now.Wall+1, next)
		require.Equal(t, statuses.Own, how, "it delays nobody")
		assert.Equal(t, 2, m.InFlight())

		// The one that was passed is neither joined by those behind the next, nor waited for.
		l = m.Look(key(1), now)
		other, how := m.Begin(&l, now, now.Wall+1, new(read))
		require.Equal(t, statuses.Behind, how)
		require.Same(t, next, other)
		next.End(2, true, nil)
		assert.Equal(t, 2, m.Look(key(1), now).Status)
		own := new(read)
		_, how = m.Begin(&l, now, now.Wall+1, own)
		require.Equal(t, statuses.Own, how)

		slow.End(1, true, nil)
		assert.Equal(t, 1, status(t, slow), "A read answers for itself")
		assert.False(t, m.Look(key(1), now).Known, "Spoiled means unknown")
		own.End(3, true, nil)
		assert.Equal(t, 3, status(t, own))
		assert.False(t, m.Look(key(1), now).Known, "An end is an event")
		learn(t, m, key(1), now, 4)
		assert.Zero(t, m.InFlight())
	})
}

// TestPassed checks that a read that was passed is never joined as if it were a later one.
func TestPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(func(o *options) { o.TTL = 0 })
		slow := begin(t, m, key(1), now)
		time.Sleep(patience)
		next := begin(t, m, key(1), now)
		l := m.Look(key(1), now)
		other, how := m.Begin(&l, now, 0, new(read))
		require.Equal(t, statuses.Behind, how)
		require.Same(t, next, other)
		next.End(2, true, nil)
		_, how = m.Begin(&l, now, 0, new(read))
		require.Equal(t, statuses.Own, how, "the slow one began before the request")
		slow.End(1, true, nil)

		slow = begin(t, m, key(2), now) // the same, if the clock had been set back
		time.Sleep(patience)
		next = begin(t, m, key(2), now)
		l = m.Look(key(2), now)
		_, how = m.Begin(&l, now, 0, new(read))
		require.Equal(t, statuses.Behind, how)
		m.SetPatience(time.Hour)
		next.End(2, true, nil)
		_, how = m.Begin(&l, now, 0, new(read))
		require.Equal(t, statuses.Own, how, "who was passed is not joined")
		slow.End(1, true, nil)
	})
}

// An earlier read serves through the entry that it leaves, if that is trusted.
func TestEarlierRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name      string
			change    func(*options)
			before    func(m *memory)
			meanwhile func(m *memory)
			now       moment
			after     int
			renewed   bool
		}{
			{name: "within the TTL", renewed: true},
			{name: "no TTL", change: func(o *options) { o.TTL = 0 }},
			{name: "too old", now: at(3700)},
			{name: "the clock was set back", now: at(99)},
			{name: "as late as asked for", after: 100, renewed: true},
			{name: "not as late", after: 101},
			{name: "forgotten", meanwhile: func(m *memory) { m.Forget(key(1)) }},
			{
				name: "another is forgotten", renewed: true,
				meanwhile: func(m *memory) { m.Forget(key(2)) },
			},
			{name: "no lease", change: func(o *options) { o.Lease = true }},
			{
				name: "lease", change: func(o *options) { o.Lease = true },
				before:  func(m *memory) { m.BeginLease(); m.ExtendLease(at(200)) },
				renewed: true,
			},
			{
				name: "another lease", change: func(o *options) { o.Lease = true },
				before:    func(m *memory) { m.BeginLease(); m.ExtendLease(at(200)) },
				meanwhile: func(m *memory) { m.BeginLease(); m.ExtendLease(at(200)) },
			},
		} {
			m := newMemory(c.change)
			if c.before != nil {
				c.before(m)
			}
			r := begin(t, m, key(1), now)
			if c.meanwhile != nil {
				c.meanwhile(m)
			}
			if c.now == (moment{}) {
				c.now = now
			}
			l := m.Look(key(1), c.now)
			other, how := m.Begin(&l, c.now, at(c.after).Wall, new(read))
			assert.Equal(t, statuses.Behind, how, c.name)
			assert.Same(t, r, other, c.name)
			r.End(5, true, nil)
			_, how = m.Begin(&l, c.now, at(c.after).Wall, new(read))
			if c.renewed {
				assert.Equal(t, statuses.Renewed, how, c.name)
				assert.Equal(t, 5, l.Status, c.name)
				assert.True(t, l.Trusted && l.Stands(), c.name)
			} else {
				assert.Equal(t, statuses.Own, how, c.name)
			}
		}
	})
}

func TestRenewed(t *testing.T) {
	m := newMemory(nil)
	l := m.Look(key(1), now)
	m.Invalidate(key(1))
	learn(t, m, key(1), now, 5)
	_, how := m.Begin(&l, at(101), now.Wall, new(read))
	require.Equal(t, statuses.Renewed, how)
	assert.Equal(t, []any{5, now, true, true}, []any{l.Status, l.At, l.Known, l.Trusted})
	assert.True(t, l.Stands(), "the look was taken again")
	_, how = m.Begin(&l, at(101), now.Wall+1, new(read))
	require.Equal(t, statuses.Own, how, "what there is will not do")
}

func TestJoinedNotIfFenced(t *testing.T) {
	m := newMemory(func(o *options) { o.TTL = 0 })
	first := begin(t, m, key(1), now)
	l := m.Look(key(1), now)
	_, how := m.Begin(&l, now, 0, new(read))
	require.Equal(t, statuses.Behind, how)
	first.End(1, true, nil)
	second := begin(t, m, key(1), now)
	m.Invalidate(key(1))
	own := new(read)
	other, how := m.Begin(&l, now, 0, own)
	assert.Equal(t, statuses.Own, how, "the second's result would not stand")
	assert.Nil(t, other)
	second.End(2, true, nil)
	own.End(3, true, nil)
	<-own.Done()
	res, _ := own.Result()
	assert.True(t, res.Stands())
	assert.False(t, m.Look(key(1), now).Known, "the second's end was an event")
}

func TestLearn(t *testing.T) {
	for _, c := range []struct {
		name      string
		meanwhile func(m *memory)
		end       func(r *read)
		status    int // answered
		err       error
		known     int // recorded; 0: nothing
		stands    bool
	}{
		{
			name: "confirmed", end: func(r *read) { r.End(1, true, nil) },
			status: 1, known: 1, stands: true,
		},
		{
			name: "changed", end: func(r *read) { r.End(2, true, nil) },
			status: 2, known: 2, stands: true,
		},
		{
			name: "an error teaches nothing", end: func(r *read) { r.End(2, true, errStore) },
			status: 2, err: errStore, known: 1, stands: true,
		},
		{
			name: "unknown serials are not recorded", end: func(r *read) { r.End(3, false, nil) },
			status: 3, stands: true,
		},
		{
			name: "contradicted", end: func(r *read) { r.Contradicted(errStore) },
			err: errStore, stands: true,
		},
		{
			name: "forgetting is an event", meanwhile: func(m *memory) { m.Forget(key(1)) },
			end: func(r *read) { r.End(2, true, nil) }, status: 2, stands: true,
		},
		{
			name:      "invalidation is an event, and a fence",
			meanwhile: func(m *memory) { m.Invalidate(key(1)) },
			end:       func(r *read) { r.End(2, true, nil) }, status: 2,
		},
		{
			name: "whatever the issuer", meanwhile: func(m *memory) {
				k := statuses.NewKey(99, binary.BigEndian.AppendUint64(nil, 1))
				m.Invalidate(&k)
			},
			end: func(r *read) { r.End(2, true, nil) }, status: 2,
		},
		{
			name: "another certificate is forgotten", meanwhile: func(m *memory) { m.Forget(key(2)) },
			end: func(r *read) { r.End(2, true, nil) }, status: 2, known: 2, stands: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMemory(nil)
			learn(t, m, key(1), at(50), 1)
			r := begin(t, m, key(1), now)
			if c.meanwhile != nil {
				c.meanwhile(m)
			}
			require.False(t, ended(r))
			c.end(r)
			r.End(77, true, nil) // is too late
			require.True(t, ended(r))
			l, err := r.Result()
			assert.Equal(t, c.err, err)
			assert.Equal(t, c.status, l.Status)
			assert.Equal(t, now, l.At)
			assert.False(t, l.Trusted)
			assert.Equal(t, c.stands, l.Stands())
			assert.Equal(t, c.known != 0 && err == nil, l.Known)
			l = m.Look(key(1), now)
			assert.Equal(t, c.known, l.Status)
			assert.Equal(t, c.known != 0, l.Known)
			assert.True(t, l.Stands())
			assert.Zero(t, m.InFlight(), "Nothing stays")
		})
	}
}

// An end is an event, also if nothing was certain or the serial is unknown.
func TestEndIsAnEvent(t *testing.T) {
	for name, end := range map[string]func(r *read){
		"recorded":     func(r *read) { r.End(2, true, nil) },
		"unknown":      func(r *read) { r.End(2, false, nil) },
		"contradicted": func(r *read) { r.Contradicted(errStore) },
		"failed":       func(r *read) { r.End(2, true, errStore) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(nil)
				learn(t, m, key(1), now, 1)
				slow := begin(t, m, key(1), now)
				time.Sleep(patience)
				next := begin(t, m, key(1), now)
				end(slow)
				next.End(3, true, nil)
				assert.Equal(t, name == "failed", m.Look(key(1), now).Known)
				assert.Equal(t, 3, status(t, next))
			})
		})
	}
}

func TestStands(t *testing.T) {
	m := newMemory(nil)
	other := statuses.NewKey(2, binary.BigEndian.AppendUint64(nil, 1))
	for _, attach := range []bool{false, true} {
		learn(t, m, key(1), now, 1)
		learn(t, m, &other, now, 1)
		l := m.Look(key(1), now)
		if attach {
			m.Attach(&l, new(string))
		}
		require.True(t, l.Stands())
		m.Forget(key(1))
		assert.True(t, l.Stands(), "forgetting is no fence")
		m.Invalidate(&other)
		assert.False(t, l.Stands(), "one serial has one stripe, whatever its issuer")
		assert.False(t, m.Look(key(1), now).Known)
		assert.False(t, m.Look(&other, now).Known)
		again := m.Look(key(1), now)
		assert.True(t, again.Stands())
	}
	assert.False(t, new(look).Stands())
}

// Forget before fence: a look loads the generation, and then the entry.
func TestLookLoadsGenerationFirst(t *testing.T) {
	m := newMemory(nil)
	learn(t, m, key(1), now, 1)
	stands := true
	for wait := time.Millisecond; stands && wait < time.Second; wait *= 2 {
		fence, release := m.HoldStripe(key(1))
		looks := make(chan look)
		go func() { looks <- m.Look(key(1), now) }()
		time.Sleep(wait) // until it waits for the stripe
		fence()
		release()
		l := <-looks
		stands = l.Stands()
	}
	assert.False(t, stands, "the generation was loaded after the entry")
}

func TestAttach(t *testing.T) {
	a, b := "a", "b"
	m := newMemory(nil)
	l := m.Look(key(1), now)
	m.Attach(&l, &a)
	assert.Nil(t, m.Look(key(1), now).Hot, "there is no entry")
	learn(t, m, key(1), now, 1)
	l = m.Look(key(1), now)
	m.Attach(&l, &a)
	assert.Same(t, &a, m.Look(key(1), now).Hot)
	learn(t, m, key(1), at(101), 1)
	confirmed := m.Look(key(1), at(101))
	assert.Same(t, &a, confirmed.Hot, "a read that confirms leaves it")
	assert.Equal(t, at(101), confirmed.At)
	m.Attach(&l, &b)
	assert.Same(t, &b, m.Look(key(1), now).Hot)
	_, attached := m.Sizes()
	assert.Equal(t, 1, attached)
	m.Detach(key(1), func(h *string) bool { return h == &a })
	assert.Same(t, &b, m.Look(key(1), now).Hot)
	m.Detach(key(1), func(h *string) bool { return h == &b })
	assert.Nil(t, m.Look(key(1), now).Hot)

	for name, drop := range map[string]func(){
		"changed":     func() { learn(t, m, key(1), now, 2) },
		"forgotten":   func() { m.Forget(key(1)) },
		"invalidated": func() { m.Invalidate(key(1)) },
	} {
		learn(t, m, key(1), now, 1)
		l = m.Look(key(1), now)
		m.Attach(&l, &a)
		require.NotNil(t, m.Look(key(1), now).Hot)
		drop()
		assert.Nil(t, m.Look(key(1), now).Hot, name)
		m.Attach(&l, &b)
		assert.Nil(t, m.Look(key(1), now).Hot, "%s: the status is not that of the look", name)
		_, attached = m.Sizes()
		assert.Zero(t, attached, name)
	}
}

func TestHotIsBounded(t *testing.T) {
	const bound, all = 50, 2000
	m := newMemory(func(o *options) { o.Max, o.Hot = all, bound })
	hit, refused, taken := 0, 0, 0
	for i := range uint64(200_000) {
		n := i*7919%all + 1
		if i%4 == 0 {
			n = 0 // is asked for most
		}
		l := m.Look(key(n), now)
		if !l.Known {
			learn(t, m, key(n), now, 1)
			l = m.Look(key(n), now)
		}
		switch {
		case l.Hot == nil:
			if attach(m, &l); m.Look(key(n), now).Hot != nil {
				taken++
			} else {
				refused++
			}
		case n == 0:
			hit++
		}
	}
	_, attached := m.Sizes()
	assert.Equal(t, bound, attached)
	assert.Greater(t, hit, 45_000, "of 50,000")
	assert.Greater(t, refused, 30*taken, "what is seldom asked for is not displaced")

	m = newMemory(func(o *options) { o.Hot = 0 })
	learn(t, m, key(1), now, 1)
	l := m.Look(key(1), now)
	attach(m, &l)
	assert.Nil(t, m.Look(key(1), now).Hot)
}

// attach attaches something if it should be attached.
func attach(m *memory, l *look) {
	if m.HasRoom(l) {
		m.Attach(l, new(string))
	}
}

func TestHotIsReplaced(t *testing.T) {
	m := newMemory(func(o *options) { o.Hot = 1 })
	learn(t, m, key(1), now, 1)
	learn(t, m, key(2), now, 1)
	l := m.Look(key(1), now)
	m.Attach(&l, new(string))
	tries := 0
	for l = m.Look(key(2), now); l.Hot == nil; l = m.Look(key(2), now) {
		attach(m, &l)
		require.Less(t, tries, 10_000)
		tries++
	}
	assert.Nil(t, m.Look(key(1), now).Hot)
}

func TestEviction(t *testing.T) {
	for _, attach := range []bool{false, true} {
		const bound = 300
		m := newMemory(func(o *options) { o.Max = bound })
		for n := range uint64(4 * bound) {
			learn(t, m, key(n), now, 1)
			entries, _ := m.Sizes()
			require.Equal(t, min(int(n)+1, bound), entries)
			l := m.Look(key(0), now) // is used, and spared
			require.True(t, l.Known, n)
			if attach && l.Hot == nil {
				m.Attach(&l, new(string))
			}
		}
	}
	t.Run("it is no event", func(t *testing.T) {
		m := newMemory(func(o *options) { o.Max = 1 })
		learn(t, m, key(1), now, 1)
		l, r := m.Look(key(1), now), begin(t, m, key(1), now)
		for n := range uint64(10) {
			learn(t, m, key(2+n), now, 1)
		}
		require.False(t, m.Look(key(1), now).Known)
		assert.True(t, l.Stands())
		r.End(2, true, nil)
		assert.Equal(t, 2, status(t, r))
		res, _ := r.Result()
		assert.True(t, res.Known)
	})
	t.Run("none", func(t *testing.T) {
		m := newMemory(func(o *options) { o.Max = 0 })
		r := begin(t, m, key(1), now)
		r.End(1, true, nil)
		assert.Equal(t, 1, status(t, r))
		l := m.Look(key(1), now)
		assert.False(t, l.Known)
		m.Invalidate(key(1))
		assert.False(t, l.Stands())
	})
}

// TestReuse checks that a Read can be used again, whether or not others shared it or anybody
// received its signal.
func TestReuse(t *testing.T) {
	m := newMemory(func(o *options) { o.TTL = 0 })
	r := new(read)
	for i := range 20 {
		k := key(uint64(i % 3))
		l := m.Look(k, now)
		_, how := m.Begin(&l, now, 0, r)
		require.Equal(t, statuses.Own, how)
		require.False(t, ended(r))
		shared := i%2 == 0
		if shared {
			l := m.Look(k, now)
			other, how := m.Begin(&l, now, 0, new(read))
			require.Equal(t, statuses.Behind, how)
			require.Same(t, r, other)
			l = m.Look(key(9), now)
			assert.Panics(t, func() { m.Begin(&l, now, 0, r) }, "it is in use")
		}
		r.End(i, true, nil)
		if i%4 < 2 {
			require.Equal(t, i, status(t, r))
		}
		holds := 2
		if shared {
			holds++
		}
		for h := range holds {
			require.Equal(t, h == holds-1, r.Release())
		}
	}
}
