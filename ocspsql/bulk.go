package ocspsql

import (
	"context"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"strings"
)

const (
	// importBatch rows go into one statement. Their 7000 arguments are well below the limits of PostgreSQL and
	// MySQL (65,535) and SQLite (32,766).
	importBatch = 1000

	serialsPage   = 1000
	selectSerials = "SELECT serial FROM ocsp_certificates WHERE issuer = ? AND serial > ? ORDER BY serial LIMIT ?"

	upsertStandard = ` ON CONFLICT (issuer, serial) DO UPDATE SET
	state = excluded.state, reason = excluded.reason, compromised_at = excluded.compromised_at, revoked_at = excluded.revoked_at
	WHERE ocsp_certificates.revoked_at IS NULL AND excluded.revoked_at IS NOT NULL`

	// MySQL evaluates from left to right with what it has set so far, so revoked_at comes last.
	upsertMySQL = ` ON DUPLICATE KEY UPDATE
	state = CASE WHEN revoked_at IS NULL AND VALUES(revoked_at) IS NOT NULL THEN VALUES(state) ELSE state END,
	reason = CASE WHEN revoked_at IS NULL AND VALUES(revoked_at) IS NOT NULL THEN VALUES(reason) ELSE reason END,
	compromised_at = CASE WHEN revoked_at IS NULL THEN VALUES(compromised_at) ELSE compromised_at END,
	revoked_at = COALESCE(revoked_at, VALUES(revoked_at))`
)

// Import adds certificates in whatever state they are, in batches, and returns how many it has taken. A
// certificate that is there already becomes revoked if the import says so and is left as it is otherwise, so an
// import can be repeated, and never undoes a revocation. It ends with the first error, be it the sequence's;
// what was written before it stays. Progress, if not nil, is called after each batch with the number so far.
func (s *Store) Import(ctx context.Context, certificates iter.Seq2[Certificate, error], progress func(n int)) (n int, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ocspsql: import, after %d certificates: %w", n, err)
		}
	}()
	full, err := s.db.PrepareContext(ctx, s.importSQL(importBatch))
	if err != nil {
		return 0, err
	}
	defer func() { _ = full.Close() }()
	batch := make([]Certificate, 0, importBatch)
	flush := func() error {
		taken := len(batch)
		batch = sortUnique(batch)
		args := make([]any, 0, len(batch)*insertArgs)
		for _, c := range batch {
			args = append(args, c.insertArgs()...)
		}
		var err error
		if len(batch) == importBatch {
			_, err = full.ExecContext(ctx, args...)
		} else {
			_, err = s.db.ExecContext(ctx, s.importSQL(len(batch)), args...)
		}
		if err != nil {
			return err
		}
		n += taken
		batch = batch[:0]
		if progress != nil {
			progress(n)
		}
		return nil
	}
	for c, err := range certificates {
		if err != nil {
			return n, err
		}
		if err := checkStored(c.IssuerID, c.Serial, c.Record); err != nil {
			return n, fmt.Errorf("number %d, of issuer %q: %w", n+len(batch)+1, c.IssuerID, err)
		}
		if batch = append(batch, c); len(batch) == importBatch {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if len(batch) > 0 {
		err = flush()
	}
	return n, err
}

func (s *Store) importSQL(rows int) string {
	return s.dialect.bind(insertColumns + insertRow + strings.Repeat(", "+insertRow, rows-1) + dialects[s.dialect].upsert)
}

// sortUnique orders a batch by key, so that two imports at once lock rows in the same order, and leaves one
// certificate of each key, since a statement may not write a row twice: the first revoked, else the first.
func sortUnique(batch []Certificate) []Certificate {
	key := func(a, b Certificate) int {
		if c := strings.Compare(a.IssuerID, b.IssuerID); c != 0 {
			return c
		}
		return a.Serial.Cmp(b.Serial)
	}
	slices.SortStableFunc(batch, key)
	kept := batch[:0]
	for _, c := range batch {
		last := len(kept) - 1
		switch {
		case last < 0 || key(kept[last], c) != 0:
			kept = append(kept, c)
		case isGood(kept[last].Record.State) && !isGood(c.Record.State):
			kept[last] = c
		}
	}
	return kept
}

// Serials yields the serial numbers of an issuer, in no useful order, and ends with the first error. It reads
// them in pages and holds no connection while the loop's body runs, which may therefore use the Store. What is
// issued meanwhile may or may not be among them.
func (s *Store) Serials(ctx context.Context, issuerID string) iter.Seq2[*big.Int, error] {
	return func(yield func(*big.Int, error) bool) {
		last := []byte{} // sorts before every serial, which has an octet at least
		for {
			page, err := s.serialsAfter(ctx, issuerID, last)
			if err != nil {
				yield(nil, fmt.Errorf("ocspsql: serials of issuer %q: %w", issuerID, err))
				return
			}
			for _, serial := range page {
				if !yield(fromTwosComplement(serial), nil) {
					return
				}
			}
			if len(page) < serialsPage {
				return
			}
			last = page[len(page)-1]
		}
	}
}

func (s *Store) serialsAfter(ctx context.Context, issuerID string, last []byte) (page [][]byte, err error) {
	rows, err := s.db.QueryContext(ctx, s.dialect.bind(selectSerials), issuerID, last, serialsPage)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var serial []byte
		if err := rows.Scan(&serial); err != nil {
			return nil, err
		}
		page = append(page, serial)
	}
	return page, rows.Err()
}
