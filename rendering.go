package ocsp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"sync/atomic"
)

// rendering is a signed reply as it is sent.
type rendering struct {
	digest  [sha256.Size]byte // of der
	der     []byte
	headers atomic.Pointer[headers]
}

// renderings keeps ready what is asked for often, so that it need not be written anew. A reply is found by its
// digest alone: what is kept here cannot be out of date, whatever becomes of the certificate. Whether the reply may
// be served is decided before.
//
// A digest has one shelf. A reply takes a place that is free on it; where none is, each 64th that is looked for in
// vain takes one in turn. So those asked for most are there most of the time, and a million certificates, asked for
// at random, do not come and go without use.
type renderings []shelf

type shelf struct {
	names  [shelfPlaces]atomic.Uint64 // the beginnings of the digests
	ready  [shelfPlaces]atomic.Pointer[rendering]
	missed atomic.Uint32
}

const (
	shelfPlaces   = 4
	shelfPatience = 64
	// maxRenderings bounds them. Of some 900 octets each, they are 15 MB; with a delegate's certificate, and both keys of
	// RSA-4096, 40 MB.
	maxRenderings = 16_384
)

// newRenderings makes room for as many replies, but not more than maxRenderings.
func newRenderings(replies int) renderings {
	return make(renderings, (min(replies, maxRenderings)+shelfPlaces-1)/shelfPlaces)
}

// find returns the rendering of a reply, nil if there is none.
func (l renderings) find(digest *[sha256.Size]byte) *rendering {
	if len(l) == 0 {
		return nil
	}
	s, name := l.shelf(digest)
	for i := range s.names {
		if s.names[i].Load() == name {
			if ready := s.ready[i].Load(); ready != nil && ready.digest == *digest {
				return ready
			}
		}
	}
	return nil
}

// keep makes a rendering of a reply that was not found, unless the places are taken: then it returns nil. If der is
// lent it is copied.
func (l renderings) keep(digest *[sha256.Size]byte, der []byte, lent bool) *rendering {
	if len(l) == 0 {
		return nil
	}
	s, name := l.shelf(digest)
	place := 0
	for place < shelfPlaces && s.ready[place].Load() != nil {
		place++
	}
	if place == shelfPlaces {
		missed := s.missed.Add(1)
		if missed%shelfPatience != 0 {
			return nil
		}
		place = int(missed / shelfPatience % shelfPlaces)
	}
	if lent {
		der = bytes.Clone(der)
	}
	ready := &rendering{digest: *digest, der: der}
	s.ready[place].Store(ready)
	s.names[place].Store(name)
	return ready
}

// shelf returns the shelf of a digest, and its beginning.
func (l renderings) shelf(digest *[sha256.Size]byte) (s *shelf, name uint64) {
	name = binary.LittleEndian.Uint64(digest[:])
	return &l[name%uint64(len(l))], name
}

// headers are the values of the header fields of a reply that HTTP caches may keep.
type headers struct {
	maxAge          int64
	caching         [3][1]string // Etag, Expires, Last-Modified
	length, control [1]string
}

// headers returns the header values of a reply that HTTP caches may keep for maxAge seconds.
func (p *reply) headers(maxAge int64) *headers {
	if p.rendering == nil {
		return newHeaders(p, maxAge)
	}
	h := p.rendering.headers.Load()
	if h == nil || h.maxAge != maxAge { // which is once in a second
		h = newHeaders(p, maxAge)
		p.rendering.headers.Store(h)
	}
	return h
}

func newHeaders(p *reply, maxAge int64) *headers {
	var room [256]byte
	var ends [4]int
	b := append(hex.AppendEncode(append(room[:0], '"'), p.digest[:]), '"')
	ends[0] = len(b)
	b = appendHTTPTime(b, p.nextUpdate)
	ends[1] = len(b)
	b = appendHTTPTime(b, p.thisUpdate)
	ends[2] = len(b)
	b = strconv.AppendInt(b, int64(len(p.der)), 10)
	ends[3] = len(b)
	b = strconv.AppendInt(append(b, "max-age="...), maxAge, 10)
	b = append(b, ", public, no-transform, must-revalidate"...)
	text := string(b)
	return &headers{
		maxAge:  maxAge,
		caching: [3][1]string{{text[:ends[0]]}, {text[ends[0]:ends[1]]}, {text[ends[1]:ends[2]]}},
		length:  [1]string{text[ends[2]:ends[3]]},
		control: [1]string{text[ends[3]:]},
	}
}
