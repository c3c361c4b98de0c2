package main

// fault is one planted fault: in a file, old is replaced by new. Old occurs once, or begins at the
// first occurrence after the text in after.
type fault struct {
	name     string
	file     string
	after    string
	old, new string
}

const (
	statusesDir = "internal/statuses/"
	signedDir   = "internal/signed/"
)

var faults = []fault{
	{
		name: "a request joins a read that began before it came",
		file: statusesDir + "read.go",
		old:  "if l.behind == nil || l.behind == other {",
		new:  "if false {",
	},
	{
		name: "the result of a read that began too early is used",
		file: "reads.go",
		old:  "if ended && how == statuses.Joined {",
		new:  "if ended {",
	},
	{
		name: "forgetting spoils no read in flight",
		file: statusesDir + "table.go",
		old:  "			r.spoiled = true\n",
		new:  "			_ = r\n",
	},
	{
		name: "a spoiled read is recorded",
		file: statusesDir + "read.go",
		old:  "case r.spoiled || r.event && r.other != status: // Spoiled",
		new:  "case false: // Spoiled",
	},
	{
		name:  "the end of a read spoils no other",
		file:  statusesDir + "read.go",
		after: "func (st *stripe[S, H]) spoil(",
		old:   "if r.key == ended.key {",
		new:   "if false {",
	},
	{
		name: "a spoiled read leaves an entry with another status",
		file: statusesDir + "read.go",
		old:  "m.remove(st, func(e *entry[S]) bool { return e.key == r.key && e.status != status })",
		new:  "_ = m",
	},
	{
		name: "that a serial is unknown is recorded",
		file: statusesDir + "read.go",
		old:  "case !known: // Spoiled means unknown",
		new:  "case false:",
	},
	{
		name: "an unknown serial leaves its entry",
		file: statusesDir + "read.go",
		old:  "m.forget(st, func(k *Key) bool { return *k == r.key })",
		new:  "_ = m",
	},
	{
		name: "a record that makes no sense forgets nothing",
		file: "reads.go",
		old:  "s.Contradicted(s.err)",
		new:  "s.End(certStatus{}, false, s.err)",
	},
	{
		name: "an end that is not recorded spoils no other read",
		file: statusesDir + "read.go",
		old:  "m.forget(st, func(k *Key) bool { return *k == r.key })",
		new:  "m.remove(st, func(e *entry[S]) bool { return e.key == r.key })",
	},
	{
		name: "a read that fails forgets",
		file: statusesDir + "read.go",
		old:  "r.end(status, known, err, err == nil)",
		new:  "r.end(status, known && err == nil, err, true)",
	},
	{
		name: "what a read returned is dated to its end",
		file: statusesDir + "read.go",
		old:  "generation: r.generation, key: r.key,\n\t}, r.err",
		new:  "generation: r.stripe.generation.Load(), key: r.key,\n\t}, r.err",
	},
	{
		name: "a status that is known makes a read needless",
		file: statusesDir + "read.go",
		old:  "again.Trusted && again.At.Wall >= after",
		new:  "again.Known && again.At.Wall >= after",
	},
	{
		name: "a signal of the last use of a read stays",
		file: statusesDir + "read.go",
		old:  "case <-r.done:",
		new:  "case <-make(chan int):",
	},
	{
		name: "Stands is always true",
		file: statusesDir + "look.go",
		old:  "return l.stripe != nil && l.stripe.generation.Load() == l.generation",
		new:  "return true",
	},
	{
		name: "Invalidate sets no fence",
		file: statusesDir + "table.go",
		old:  "st.generation.Add(1) // Forget before fence",
		new:  "",
	},
	{
		name:  "Invalidate forgets nothing",
		file:  statusesDir + "table.go",
		after: "func (m *Memory[S, H]) Invalidate(",
		old:   "m.forget(st, func(k *Key) bool { return bytes.Equal(k.serial(), key.serial()) })",
		new:   "_ = bytes.Equal",
	},
	{
		name: "a status is trusted without end",
		file: statusesDir + "statuses.go",
		old:  "now.Within(m.ttl, at) &&",
		new:  "",
	},
	{
		name: "trust is counted by the wall clock alone",
		file: statusesDir + "statuses.go",
		old:  "max(wall, m.Steady-then.Steady) < limit",
		new:  "wall < limit",
	},
	{
		name: "a status is trusted without a lease",
		file: statusesDir + "statuses.go",
		old:  "(!m.leased || m.lease.covers(lease, now))",
		new:  "true",
	},
	{
		name: "a lease covers what was read before it",
		file: statusesDir + "lease.go",
		old:  "l.generation.Load() == generation",
		new:  "true",
	},
	{
		name: "a lease does not end by itself",
		file: statusesDir + "lease.go",
		old:  "now.Wall < until.Wall && now.Steady < until.Steady &&",
		new:  "",
	},
	{
		name: "the wall clock does not end a lease",
		file: statusesDir + "lease.go",
		old:  "now.Wall < until.Wall && ",
		new:  "",
	},
	{
		name: "a read has the lease of its end",
		file: statusesDir + "table.go",
		old:  "e.status, e.at, e.lease = r.status, r.at, r.lease",
		new:  "e.status, e.at, e.lease = r.status, r.at, m.lease.generation.Load()",
	},
	{
		name: "issuers share the statuses of a serial",
		file: statusesDir + "statuses.go",
		old:  "binary.LittleEndian.PutUint64(key[:], issuer&(1<<40-1)|size<<40)",
		new:  "binary.LittleEndian.PutUint64(key[:], size<<40)",
	},
	{
		name: "a known status is taken for a trusted one",
		file: "respond.go",
		old:  "if look.Trusted && x.clock.unix(look.At) >= newer {",
		new:  "if look.Known && x.clock.unix(look.At) >= newer {",
	},
	{
		name: "an answer is sent without the last check",
		file: "respond.go",
		old:  "if p == nil || p.outcome == 0 && !p.Alive(now.Unix()) || !look.Stands() {",
		new:  "if p == nil || p.outcome == 0 && !p.Alive(now.Unix()) {",
	},
	{
		name:  "an answer about several certificates is sent without the last check",
		file:  "respond.go",
		after: "for _, look := range looks {",
		old:   "if !look.Stands() {",
		new:   "if look == nil {",
	},
	{
		name: "a stand-in may lack the nonce that NonceRequire promises",
		file: "respond.go",
		old:  "x.req.NonceForm != codec.NonceAbsent && x.cfg.Nonce == NonceRequire {",
		new:  "false {",
	},
	{
		name: "a stand-in may be past its nextUpdate",
		file: "respond.go",
		old:  "if found == nil || !found.Alive(now.Unix()) {\n\t\treturn look, nil, nil",
		new:  "if found == nil {\n\t\treturn look, nil, nil",
	},
	{
		name: "an answer with a nonce is cached",
		file: "draft.go",
		old:  "return d.nonce == nil && !slices",
		new:  "return !slices",
	},
	{
		name: "thisUpdate is now",
		file: "draft.go",
		old:  "ThisUpdate: max(p.read-int64(c.Backdate/time.Second), s.notBefore, p.latest),",
		new:  "ThisUpdate: max(p.read, now),",
	},
	{
		name: "what is attached to a status is sent for any signer",
		file: "signatures.go",
		old:  "hot := look.Hot != nil && look.Hot.ID == d.id",
		new:  "hot := look.Hot != nil",
	},
	{
		name: "requests that read another status share a signature",
		file: "signatures.go",
		old:  "f, begun = s.join(flightKey{id: d.id})",
		new:  "f, begun = s.join(flightKey{id: answerID{Certificate: d.id.Certificate}})",
	},
	{
		name: "an answer that would be a step back is sent",
		file: "signatures.go",
		old:  "if s.answers != nil && !s.add(d, a) {",
		new:  "if s.answers != nil && !s.add(d, a) && false {",
	},
	{
		name: "what is attached to a status stays when it would be a step back",
		file: "signatures.go",
		old:  "if added {",
		new:  "if false {",
	},
	{
		name: "a flight does not end when it has landed",
		file: "signatures.go",
		old:  "delete(s.flights, f.key)",
		new:  "",
	},
	{
		name: "an answer with a nonce outdates nothing",
		file: "signatures.go",
		old:  "s.answers.Outdate(&key, p.status, p.thisUpdate)",
		new:  "_ = key",
	},
	{
		name: "a signed answer is found for another status",
		file: signedDir + "cache.go",
		old:  "a.ID == id {",
		new:  "a.Encoding == id.Encoding && a.Signer == id.Signer {",
	},
	{
		name: "the compact store finds a signed answer for another status",
		file: signedDir + "compact.go",
		old:  " || a.status != id.Status {",
		new:  " {",
	},
	{
		name: "an answer with another status stays when a later one comes",
		file: signedDir + "signed.go",
		old:  "case old.ThisUpdate < a.ThisUpdate && old.Status != a.Status:",
		new:  "case false:",
	},
	{
		name: "a change that the feed reports is dropped",
		file: "feed.go",
		old:  "s.feed.memory.Invalidate(&key)",
		new:  "_ = key",
	},
	{
		name: "Resync begins no lease",
		file: "feed.go",
		old:  "s.feed.memory.BeginLease()",
		new:  "",
	},
	{
		name: "the lease lasts twice as long as the feed vouches for",
		file: "feed.go",
		old:  "Wall: at.Wall + left, Steady: at.Steady + left}",
		new:  "Wall: at.Wall + 2*left, Steady: at.Steady + 2*left}",
	},
	{
		name: "a call of Follow that has returned extends the lease",
		file: "feed.go",
		old:  "if s.ended || !s.begun {",
		new:  "if !s.begun {",
	},
	{
		name:  "the lease goes on when Follow returns",
		file:  "feed.go",
		after: "s.ended = true",
		old:   "s.feed.memory.EndLease()",
		new:   "",
	},
	{
		name: "a signature from the remote cache is not verified",
		file: "remote.go",
		old:  "response.TBS, response.Signature); err != nil {",
		new:  "response.TBS, response.Signature); err != nil && false {",
	},
	{
		name: "the age of an answer from the remote cache is not checked",
		file: "remote.go",
		old:  "if l.RefreshAt <= ceilSecond(d.now) {",
		new:  "if false {",
	},
	{
		name: "statuses of a former store are used",
		file: "issuers.go",
		old:  "slices.EqualFunc(before.sources, a.sources, source.same) {",
		new:  "len(before.sources) == len(a.sources) {",
	},
	{
		name: "SetIssuer changes nothing",
		file: "issuers.go",
		old:  "s.present.Store(next)\n	s.stores.prune",
		new:  "s.stores.prune",
	},
	{
		name: "a lease that begins keeps the end of the former one",
		file: statusesDir + "lease.go",
		old:  "	m.EndLease()\n	m.lease.generation.Add(1)",
		new:  "	m.lease.generation.Add(1)",
	},
	{
		name: "the end of a lease is never set back",
		file: statusesDir + "lease.go",
		old:  "{ m.lease.until.Store(&until) }",
		new: "{ if old := m.lease.until.Load(); old == nil || old.Wall < until.Wall " +
			"{ m.lease.until.Store(&until) } }",
	},
	{
		name: "a spoiled read that ends spoils no other",
		file: statusesDir + "read.go",
		old:  "e.key == r.key && e.status != status })\n		st.spoil(r)",
		new:  "e.key == r.key && e.status != status })",
	},
	{
		name: "a look that is taken again is not used",
		file: statusesDir + "read.go",
		old:  "*l = again",
		new:  "_ = again",
	},
	{
		name: "a waiter does not hold the read that it waits for",
		file: statusesDir + "read.go",
		old:  "other.holds.Add(1)",
		new:  "",
	},
	{
		name: "serials that differ in zeros at their end are one",
		file: statusesDir + "statuses.go",
		old:  "issuer&(1<<40-1)|size<<40)",
		new:  "issuer&(1<<40-1)|size*0)",
	},
	{
		name: "long serials that begin alike are one",
		file: statusesDir + "statuses.go",
		old:  "serial = sum[:]",
		new:  "_, serial = sum, serial[:maxSerial]",
	},
	{
		name: "Invalidate looks for an issuer's certificate in another stripe",
		file: statusesDir + "statuses.go",
		old:  "maphash.Bytes(m.seed, key.serial())",
		new:  "maphash.Bytes(m.seed, key[:])",
	},
	{
		name: "a flight uses the draft of its request",
		file: "signatures.go",
		old:  "s.launch(ctx, f, d.clone(), *look)",
		new:  "s.launch(ctx, f, d, *look)",
	},
	{
		name: "an answer of the remote cache may be a step back",
		file: "signatures.go",
		old:  "ok && s.add(d, a) {",
		new:  "ok {",
	},
	{
		name: "of a message only the first serial is invalidated",
		file: "feed.go",
		old:  "for _, serial := range serials {",
		new:  "for _, serial := range serials[:min(1, len(serials))] {",
	},
	{
		name: "Invalidate invalidates only the first serial",
		file: "ocsp.go",
		old:  "		r.memory.Invalidate(&key)",
		new:  "		if i == 0 { r.memory.Invalidate(&key) }",
	},
	{
		name: "a store that fails is taken for one that does not know the serial",
		file: "reads.go",
		old:  "if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalidRecord) {",
		new:  "if errors.Is(err, ErrInvalidRecord) {",
	},
	{
		name: "of several stores the last is believed",
		file: "reads.go",
		old:  "		if s.known {\n			break\n		}\n",
		new:  "",
	},
	{
		name: "of several stores only the first is asked",
		file: "reads.go",
		old:  "		if s.known {\n			break\n",
		new:  "		if true {\n			break\n",
	},
	{
		name: "FailClosed fails open",
		file: "respond.go",
		old:  "if x.cfg.Cache.FailClosed || isBroken(err) || errors.Is(err, errClosed) {",
		new:  "if isBroken(err) || errors.Is(err, errClosed) {",
	},
	{
		name: "RemoveIssuer removes nothing",
		file: "issuers.go",
		old:  "removed := func(i *issuer) bool { return i.ID == id }",
		new:  "removed := func(i *issuer) bool { return false }",
	},
	{
		name: "a look loads the generation after the entry",
		file: statusesDir + "look.go",
		old:  "l.generation = st.generation.Load() // Forget",
		new:  "defer func() { l.generation = st.generation.Load() }() // Forget",
	},
	{
		name: "a signed answer is found for another signer",
		file: signedDir + "cache.go",
		old:  "a.ID == id {",
		new:  "a.Encoding == id.Encoding && a.Status == id.Status {",
	},
	{
		name: "an answer blocks none that would be a step back",
		file: signedDir + "signed.go",
		old:  "if old.Status != a.Status || old.ID == a.ID {",
		new:  "if old.ID == a.ID {",
	},
	{
		name: "the end of another read makes a spoiled one good",
		file: statusesDir + "read.go",
		old:  "r.spoiled = r.spoiled || r.event && r.other != ended.status",
		new:  "r.spoiled = r.event && r.other != ended.status",
	},
	{
		name: "a request joins a read of another serial",
		file: statusesDir + "read.go",
		old:  "if !r.passed && r.key == *key {",
		new:  "if !r.passed && [issuerSize]byte(r.key[:]) == [issuerSize]byte(key[:]) {",
	},
}
