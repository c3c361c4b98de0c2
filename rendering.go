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
type renderings [renderingSlots]struct {
	seen  atomic.Uint64 // of whose digest this is the beginning was asked for last
	ready atomic.Pointer[rendering]
}

// renderingSlots bounds them. Of some 800 octets each, they are 3 MB at the most.
const renderingSlots = 4096

// find returns the rendering of a reply, nil if there is none. again tells that it was asked for before, and none of
// the replies it shares a slot with since. Then it is worth keeping.
func (l *renderings) find(digest *[sha256.Size]byte) (ready *rendering, again bool) {
	name := binary.LittleEndian.Uint64(digest[:])
	slot := &l[name%renderingSlots]
	if ready = slot.ready.Load(); ready != nil && ready.digest == *digest {
		return ready, false
	}
	if slot.seen.Load() == name {
		return nil, true
	}
	slot.seen.Store(name)
	return nil, false
}

// keep makes a rendering of a reply's octets.
func (l *renderings) keep(digest *[sha256.Size]byte, der []byte) *rendering {
	ready := &rendering{digest: *digest, der: bytes.Clone(der)}
	l[binary.LittleEndian.Uint64(digest[:])%renderingSlots].ready.Store(ready)
	return ready
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
