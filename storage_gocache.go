package ocsp

import (
	"sync"
	"sync/atomic"

	gocache "github.com/patrickmn/go-cache"
)

// goCacheStorage is StorageGoCache. go-cache is a concurrent map here: what expires, and when, is the
// replyCache's.
type goCacheStorage struct {
	items *gocache.Cache // string(certKey) -> *goCacheItem
	owner owner

	mu    sync.Mutex // held while items changes
	clock clock
	ring  []certKey // by slot
}

// goCacheItem is one certificate. What is known about it is replaced with the item, never changed.
type goCacheItem struct {
	head
	replies atomic.Pointer[goCacheReply]
	slot    int32
	used    atomic.Bool
}

// goCacheReply is a reply and those behind it. It is never changed.
type goCacheReply struct {
	kept
	next *goCacheReply
}

func newGoCacheStorage(max int, owner owner) *goCacheStorage {
	return &goCacheStorage{items: gocache.New(gocache.NoExpiration, 0), owner: owner, clock: clock{max: max}}
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
	for reply := item.replies.Load(); reply != nil; reply = reply.next {
		if reply.id == id {
			item.use()
			return reply.kept, true
		}
	}
	return kept{}, false
}

func (s *goCacheStorage) use(key certKey) {
	if item := s.item(&key); item != nil {
		item.use()
	}
}

func (i *goCacheItem) use() {
	if !i.used.Load() {
		i.used.Store(true)
	}
}

func (s *goCacheStorage) insert(key certKey, h head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.clock.take(
		func(slot int) bool {
			used := s.item(&s.ring[slot]).used.Swap(false)
			return s.owner.used(s.ring[slot]) || used
		},
		func(slot int) {
			s.owner.evicting(s.ring[slot])
			s.items.Delete(string(s.ring[slot][:]))
			s.owner.evicted(s.ring[slot])
		})
	if slot == len(s.ring) {
		s.ring = append(s.ring, key)
	}
	s.ring[slot] = key
	s.set(&key, &goCacheItem{head: h, slot: int32(slot)})
}

func (s *goCacheStorage) update(key certKey, h head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.item(&key)
	if old == nil {
		return
	}
	item := &goCacheItem{head: h, slot: old.slot}
	item.used.Store(old.used.Load())
	if old.status == h.status {
		item.replies.Store(old.replies.Load())
	}
	s.set(&key, item)
}

func (s *goCacheStorage) add(key certKey, status certStatus, k kept) (head, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item := s.item(&key)
	if item == nil || item.status != status {
		return head{}, false
	}
	first := &goCacheReply{kept: k}
	for old := item.replies.Load(); old != nil; old = old.next {
		switch {
		case (old.id.signer > k.id.signer || old.id == k.id && old.thisUpdate > k.thisUpdate) && s.owner.alive(old.window):
			return head{}, false
		case old.id.signer == k.id.signer && old.id != k.id:
			first.next = &goCacheReply{old.kept, first.next}
		}
	}
	item.replies.Store(first)
	return item.head, true
}

func (s *goCacheStorage) remove(key certKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if item := s.item(&key); item != nil {
		s.items.Delete(string(key[:]))
		s.clock.give(int(item.slot))
	}
}
