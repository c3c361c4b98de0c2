package ocspotel

import (
	"maps"
	"sync"
	"sync/atomic"
)

// table makes a value for each key once, and finds it again without a lock or an allocation. It is for keys that are
// few: each new one copies the table.
type table[K comparable, V any] struct {
	mu   sync.Mutex // held while made is replaced
	made atomic.Pointer[map[K]*V]
}

// find returns the value of a key, nil if there is none yet.
func (t *table[K, V]) find(key K) *V {
	if made := t.made.Load(); made != nil {
		return (*made)[key]
	}
	return nil
}

// get returns the value of a key. It makes it if it must.
func (t *table[K, V]) get(key K, make func(K) *V) *V {
	if value := t.find(key); value != nil {
		return value
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if value := t.find(key); value != nil {
		return value
	}
	next := map[K]*V{}
	if made := t.made.Load(); made != nil {
		next = maps.Clone(*made)
	}
	next[key] = make(key)
	t.made.Store(&next)
	return next[key]
}
