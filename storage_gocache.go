package ocsp

import (
	"sync"
	"sync/atomic"

	gocache "github.com/patrickmn/go-cache"
)

// goCacheStorage is StorageGoCache. go-cache is a concurrent map here: what expires, and when, is the
// replyCache's.
type goCacheStorage struct {
	items    *gocache.Cache // string(certKey) -> *goCacheItem
	evicting func(certKey)

	mu    sync.Mutex // held while items changes
	clock clock
	ring  []certKey // by slot
}

// goCacheItem is one certificate. All but used is replaced, never changed.
type goCacheItem struct {
	head
	replies []kept
	slot    int32
	used    atomic.Bool
}

func newGoCacheStorage(max int, evicting func(certKey)) *goCacheStorage {
	return &goCacheStorage{items: gocache.New(gocache.NoExpiration, 0), evicting: evicting, clock: clock{max: max}}
}

func (s *goCacheStorage) item(key *certKey) *goCacheItem {
	item, ok := s.items.Get(string(key[:]))
	if !ok {
		return nil
	}
	return item.(*goCacheItem)
}

func (s *goCacheStorage) set(key *certKey, item *goCacheItem) {
	s.items.Set(string(key[:]), item, gocache.NoExpiration)
}

func (s *goCacheStorage) head(key certKey) (head, bool) {
	item := s.item(&key)
	if item == nil {
		return head{}, false
	}
	return item.head, true
}

func (s *goCacheStorage) reply(key certKey, status certStatus, id replyID, _ []byte) (kept, bool) {
	item := s.item(&key)
	if item == nil || item.status != status {
		return kept{}, false
	}
	for i := range item.replies {
		if item.replies[i].id == id {
			if !item.used.Load() {
				item.used.Store(true)
			}
			return item.replies[i], true
		}
	}
	return kept{}, false
}

func (s *goCacheStorage) insert(key certKey, h head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.clock.take(
		func(slot int) bool { return s.item(&s.ring[slot]).used.Swap(false) },
		func(slot int) {
			s.evicting(s.ring[slot])
			s.items.Delete(string(s.ring[slot][:]))
		})
	if slot == len(s.ring) {
		s.ring = append(s.ring, key)
	}
	s.ring[slot] = key
	s.set(&key, &goCacheItem{head: h, slot: int32(slot)})
}

func (s *goCacheStorage) update(key certKey, h head) {
	s.replace(key, func(old *goCacheItem) *goCacheItem {
		if old.status == h.status {
			return &goCacheItem{head: h, replies: old.replies}
		}
		return &goCacheItem{head: h}
	})
}

func (s *goCacheStorage) add(key certKey, status certStatus, k kept) {
	s.replace(key, func(old *goCacheItem) *goCacheItem {
		if old.status != status {
			return nil
		}
		replies := make([]kept, 0, len(old.replies)+1)
		for _, q := range old.replies {
			switch {
			case q.id.signer > k.id.signer:
				return nil
			case q.id.signer == k.id.signer && q.id != k.id:
				replies = append(replies, q)
			}
		}
		return &goCacheItem{head: old.head, replies: append(replies, k)}
	})
}

// replace puts what next makes of a certificate's item in its place, if it is there and next is not nil.
func (s *goCacheStorage) replace(key certKey, next func(old *goCacheItem) *goCacheItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.item(&key)
	if old == nil {
		return
	}
	if item := next(old); item != nil {
		item.slot = old.slot
		item.used.Store(old.used.Load())
		s.set(&key, item)
	}
}

func (s *goCacheStorage) remove(key certKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if item := s.item(&key); item != nil {
		s.items.Delete(string(key[:]))
		s.clock.give(int(item.slot))
	}
}
