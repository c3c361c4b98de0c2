package page

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/kmsocsp/ocsp/examples/kms/internal/api"
)

// SessionLife is how long a session lasts, and MaxSessions how many there can be.
const (
	SessionLife = 8 * time.Hour
	MaxSessions = 64
)

// InvitationLife is how long a link of Page.Invite is valid.
const InvitationLife = time.Hour

// news is what the page of a certificate shows once, after an action.
type news struct {
	uid    string
	Notice string
	Key    string // PEM; of a new certificate
}

type session struct {
	ends time.Time
	news news
}

// sessions are the browsers that have logged in, by the hashes of the IDs in their cookies. They
// end with the process.
type sessions struct {
	now func() time.Time

	mu     sync.Mutex
	byHash map[[sha256.Size]byte]*session
}

// begin starts a session and returns its ID. If there are MaxSessions, it ends the oldest.
func (s *sessions) begin() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	for len(s.byHash) >= MaxSessions {
		var oldest [sha256.Size]byte
		for hash, candidate := range s.byHash {
			if first := s.byHash[oldest]; first == nil || candidate.ends.Before(first.ends) {
				oldest = hash
			}
		}
		delete(s.byHash, oldest)
	}
	id := rand.Text()
	s.byHash[sha256.Sum256([]byte(id))] = &session{ends: s.now().Add(SessionLife)}
	return id
}

func (s *sessions) expire() {
	for hash, one := range s.byHash {
		if !s.now().Before(one.ends) {
			delete(s.byHash, hash)
		}
	}
}

// valid reports whether there is a session with that ID.
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

// setNews stores news for the next page of a certificate.
func (s *sessions) setNews(id string, n news) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.byHash[sha256.Sum256([]byte(id))]; one != nil {
		one.news = n
	}
}

// takeNews returns the news about a certificate and removes them.
func (s *sessions) takeNews(id, uid string) news {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byHash[sha256.Sum256([]byte(id))]
	if one == nil || one.news.uid != uid {
		return news{}
	}
	n := one.news
	one.news = news{}
	return n
}

// invitation is a code that logs in once, so that the server can print a link without the token.
// The zero value accepts no code.
type invitation struct {
	mu   sync.Mutex
	code string
	ends time.Time
}

// renew returns a new code, which replaces the previous one.
func (i *invitation) renew(now time.Time) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.code, i.ends = rand.Text(), now.Add(InvitationLife)
	return i.code
}

// take reports whether the code is valid, and invalidates it.
func (i *invitation) take(code string, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !api.SameSecret(code, i.code) || !now.Before(i.ends) {
		return false
	}
	i.ends = time.Time{}
	return true
}
