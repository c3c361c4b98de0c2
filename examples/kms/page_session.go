package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"
)

const (
	sessionLife    = 8 * time.Hour
	invitationLife = time.Hour
	maxSessions    = 64
)

// sameSecret compares in a time that does not depend on either.
func sameSecret(given, want string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// news is what the page of a certificate tells once, after something was done to it.
type news struct {
	uid    string
	Notice string
	Key    string // PEM; of a new certificate
}

type session struct {
	ends time.Time
	news news
}

// sessions are the browsers that have logged in, by the hashes of the ids in their cookies. They last as long as the
// process does.
type sessions struct {
	now func() time.Time

	mu     sync.Mutex
	byHash map[[sha256.Size]byte]*session
}

// begin starts a session and returns its id. With maxSessions there, the oldest gives way.
func (s *sessions) begin() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	for len(s.byHash) >= maxSessions {
		var oldest [sha256.Size]byte
		for hash, candidate := range s.byHash {
			if first := s.byHash[oldest]; first == nil || candidate.ends.Before(first.ends) {
				oldest = hash
			}
		}
		delete(s.byHash, oldest)
	}
	id := rand.Text()
	s.byHash[sha256.Sum256([]byte(id))] = &session{ends: s.now().Add(sessionLife)}
	return id
}

func (s *sessions) expire() {
	for hash, one := range s.byHash {
		if !s.now().Before(one.ends) {
			delete(s.byHash, hash)
		}
	}
}

// valid reports whether there is a session with that id.
func (s *sessions) valid(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	return s.byHash[sha256.Sum256([]byte(id))] != nil
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byHash, sha256.Sum256([]byte(id)))
}

// tell keeps news for the next look at a certificate.
func (s *sessions) tell(id string, n news) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.byHash[sha256.Sum256([]byte(id))]; one != nil {
		one.news = n
	}
}

// hear returns the news about a certificate, and forgets them.
func (s *sessions) hear(id, uid string) news {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byHash[sha256.Sum256([]byte(id))]
	if one == nil || one.news.uid != uid {
		return news{}
	}
	told := one.news
	one.news = news{}
	return told
}

// invitation is a code that logs in once, so that the server can print a link that holds no token. The zero value
// lets nobody in.
type invitation struct {
	mu   sync.Mutex
	code string
	ends time.Time
}

// renew returns a new code in place of the one before.
func (i *invitation) renew(now time.Time) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.code, i.ends = rand.Text(), now.Add(invitationLife)
	return i.code
}

// take reports whether the code is right and spends it.
func (i *invitation) take(code string, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !sameSecret(code, i.code) || !now.Before(i.ends) {
		return false
	}
	i.ends = time.Time{}
	return true
}
