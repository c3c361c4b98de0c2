package ocspredis

import (
	"context"
	"fmt"
	"iter"
	"math/big"

	"github.com/redis/go-redis/v9"
)

// batch is how many entries are sent or read together.
const batch = 500

// Import adds certificates in whatever state they are, in batches, and returns how many it has taken. A
// certificate that is there already becomes revoked if the import says so and is left as it is otherwise, so an
// import can be repeated, and never undoes a revocation. It ends with the first error, be it the sequence's;
// what was written before it stays. Progress, if not nil, is called after each batch with the number so far.
func (s *Store) Import(ctx context.Context, certificates iter.Seq2[Certificate, error], progress func(n int)) (n int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ocspredis: import, after %d certificates: %w", n, err)
		}
	}()
	if err := swap.Load(ctx, s.client).Err(); err != nil {
		return 0, err
	}
	var waiting []Certificate
	flush := func() error {
		if err := s.importBatch(ctx, waiting); err != nil {
			return err
		}
		n, waiting = n+len(waiting), waiting[:0]
		if progress != nil {
			progress(n)
		}
		return nil
	}
	for c, err := range certificates {
		if err == nil {
			err = c.check()
		}
		if err != nil {
			return n, err
		}
		if waiting = append(waiting, c); len(waiting) == batch {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if len(waiting) > 0 {
		err = flush()
	}
	return n, err
}

// importBatch takes it that the certificates are new, and looks again at those that are not.
func (s *Store) importBatch(ctx context.Context, list []Certificate) error {
	written := make([]*redis.Cmd, len(list))
	if _, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range list {
			e := entry{Certificate: c}
			number := octets(c.Serial)
			for _, k := range s.keys {
				e.names = append(e.names, s.prefix+k.name(c.IssuerID, number))
			}
			written[i] = swap.EvalSha(ctx, p, e.names, "", s.seal(e))
		}
		return nil
	}); err != nil {
		return err
	}
	for i, c := range list {
		if ok, err := written[i].Int(); err != nil {
			return err
		} else if ok == 1 {
			continue
		}
		if _, err := s.change(ctx, "import", c.IssuerID, c.Serial, merge(c.Record)); err != nil {
			return err
		}
	}
	return nil
}

// Serials lists an issuer's serial numbers, in no order; one may come twice if it is written meanwhile. It reads
// all that is in the store. The sequence ends after an error.
func (s *Store) Serials(ctx context.Context, issuerID string) iter.Seq2[*big.Int, error] {
	return func(yield func(*big.Int, error) bool) {
		for e, err := range s.all(ctx) {
			switch {
			case err != nil:
				yield(nil, fmt.Errorf("ocspredis: serials: %w", err))
				return
			case e.IssuerID == issuerID && !yield(e.Serial, nil):
				return
			}
		}
	}
}

// all reads everything. Each entry has but the name that it was found under.
func (s *Store) all(ctx context.Context) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		names := make([]string, 0, batch)
		flush := func() bool {
			if len(names) == 0 {
				return true
			}
			values, err := s.client.MGet(ctx, names...).Result()
			if err != nil {
				yield(entry{}, err)
				return false
			}
			for i, value := range values {
				text, ok := value.(string)
				if !ok {
					continue // it has moved or gone
				}
				c, err := s.read(text, names[i])
				if err != nil {
					yield(entry{}, fmt.Errorf("%s: %w", names[i], err))
					return false
				}
				if !yield(entry{c, []string{names[i]}, text}, nil) {
					return false
				}
			}
			names = names[:0]
			return true
		}
		scan := s.client.Scan(ctx, 0, escape.Replace(s.prefix)+"*", batch).Iterator()
		for scan.Next(ctx) {
			if names = append(names, scan.Val()); len(names) == batch && !flush() {
				return
			}
		}
		if err := scan.Err(); err != nil {
			yield(entry{}, err)
			return
		}
		flush()
	}
}

// Rewrap encrypts anew, under the current key, whatever is encrypted under another, while everything else goes
// on, and returns how many entries that were. When it has returned without an error, and every writer has had the
// current key since before it was called, the other keys are not needed any more. Progress, if not nil, is called
// now and then with the number of entries looked at.
func (s *Store) Rewrap(ctx context.Context, progress func(n int)) (rewrapped int, err error) {
	seen := 0
	for found, err := range s.all(ctx) {
		if err != nil {
			return rewrapped, fmt.Errorf("ocspredis: rewrap: %w", err)
		}
		if seen++; progress != nil && seen%batch == 0 {
			progress(seen)
		}
		for found.value[1:1+found.value[0]] != s.keys[0].id {
			e, err := s.find(ctx, found.IssuerID, found.Serial)
			if err != nil {
				return rewrapped, fmt.Errorf("ocspredis: rewrap: %w", err)
			}
			if found.value = e.value; e.value == "" {
				break
			}
			written, err := s.write(ctx, e, e.Record)
			if err != nil {
				return rewrapped, fmt.Errorf("ocspredis: rewrap: %w", err)
			}
			if written {
				rewrapped++
				break
			}
		}
	}
	if progress != nil {
		progress(seen)
	}
	return rewrapped, nil
}
