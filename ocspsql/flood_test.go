package ocspsql_test

import (
	"context"
	"crypto/x509"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kmsocsp/ocsp"
	"github.com/kmsocsp/ocsp/ocspsql"
	"github.com/kmsocsp/ocsp/ocspsql/internal/dbtest"
	"github.com/kmsocsp/ocsp/ocsptest"
)

// Strangers who fill a healthy database's pool of four connections, each lookup in which takes 50 ms,
// with more than it can do within Config.Timeout bring about no answer from before a revocation, of
// either issuer.
func TestFloodOfARealPoolBringsNoStaleGood(t *testing.T) {
	kind := dbtest.PostgreSQL
	recipe, database := recipes[kind], dbtest.New(t, kind)
	db, writer := database.Open(t), database.Open(t)
	for _, statement := range []string{recipe.schema, recipe.index} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	ca, quiet := ocsptest.NewCA(ocsptest.Options{}), ocsptest.NewCA(ocsptest.Options{Name: "quiet"})
	put := func(ca *ocsptest.CA, leaf *x509.Certificate, state, revoked string) {
		serial := leaf.SerialNumber.Text(16)
		_, err := writer.ExecContext(t.Context(), recipe.insert, ca.ID+"/"+serial,
			`{"issuer": "`+ca.ID+`", "serial": "`+serial+`", "state": "`+state+`"`+revoked+`}`)
		require.NoError(t, err)
	}
	// One certificate for each question: questions about the same one would share a lookup, and
	// database/sql serves those who wait for a connection in random order.
	leaves := map[*x509.Certificate]*ocsptest.CA{}
	for _, of := range []*ocsptest.CA{ca, quiet} {
		for range 8 {
			leaf := of.Issue(ocsptest.Options{})
			leaves[leaf] = of
			put(of, leaf, "Active", "")
		}
	}
	slow := ocspsql.Query{Serial: ocspsql.Hex, SQL: `WITH wait AS MATERIALIZED (SELECT pg_sleep(0.05)) ` + recipe.lookup +
		` AND (SELECT count(*) FROM wait) = 1 UNION ALL SELECT NULL, NULL, NULL, NULL, NULL FROM wait WHERE false`}
	db.SetMaxOpenConns(4)
	store, err := ocspsql.OpenQuery(t.Context(), db, slow)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	responder, err := ocsp.New(ocsp.Config{
		Issuers: []ocsp.Issuer{ca.Issuer(), quiet.Issuer()}, Store: store, Timeout: 2 * time.Second,
		Cache: ocsp.CacheOptions{StorePatience: 200 * time.Millisecond},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, responder.Close()) }()
	ask := func(of *ocsptest.CA, leaf *x509.Certificate) ocsp.Answer {
		return responder.Respond(context.Background(), ocsptest.Client{}.Request(of.Certificate, leaf))
	}
	for leaf, of := range leaves {
		begin := time.Now()
		require.Equal(t, ocsp.Good, ask(of, leaf).Responses[0].Status)
		require.GreaterOrEqual(t, time.Since(begin), 50*time.Millisecond, "the lookup must take its time")
	}
	// They go on until the others have their answers. One issuer may hold 512 places.
	var flood, asking sync.WaitGroup
	var over atomic.Bool
	defer over.Store(true)
	var tooLong atomic.Int64
	for i := range 500 {
		flood.Go(func() {
			for !over.Load() {
				answer := ask(ca, &x509.Certificate{
					SerialNumber: big.NewInt(int64(i)), RawIssuer: ca.Certificate.RawSubject,
				})
				if answer.Outcome == ocsp.OutcomeTryLater {
					tooLong.Add(1)
				}
			}
		})
	}
	waiting := func() bool { return db.Stats().WaitCount > 400 }
	assert.Eventually(t, waiting, time.Minute, time.Millisecond)
	for leaf, of := range leaves {
		put(of, leaf, "Compromised", `, "revoked_at": 1700000000`)
		asking.Go(func() {
			answer := ask(of, leaf)
			assert.NotEqual(t, ocsp.OutcomeStale, answer.Outcome, "%v", answer.Err)
			if len(answer.Responses) > 0 {
				assert.Equal(t, ocsp.Revoked, answer.Responses[0].Status)
			}
		})
	}
	asking.Wait()
	over.Store(true)
	flood.Wait()
	require.NotZero(t, tooLong.Load(), "the flood must be more than the pool can do")
	for leaf, of := range leaves {
		require.Equal(t, ocsp.Revoked, ask(of, leaf).Responses[0].Status)
	}
}
