//go:build cgo

package main

import (
	"net"
	"time"

	boulderlog "github.com/letsencrypt/boulder/log"
	boulder "github.com/letsencrypt/boulder/ocsp/responder"
	"github.com/prometheus/client_golang/prometheus"
	xocsp "golang.org/x/crypto/ocsp"
)

// boulderPeer is boulder's responder, at one of the last versions that have one. Its packages want a C compiler.
var boulderPeer = peer{name: boulderPost, asks: posts, like: staticPost, serve: serveBoulder}

// serveBoulder logs what boulder's own program logs with its usual settings: no requests, only what goes wrong.
func serveBoulder(k *kit) (func(net.Listener) error, error) {
	const info = 6
	answers, err := k.signed()
	if err != nil {
		return nil, err
	}
	known := make(map[string]*boulder.Response, len(answers))
	for serial, der := range answers {
		parsed, err := xocsp.ParseResponse(der, nil)
		if err != nil {
			return nil, err
		}
		known[serial] = &boulder.Response{Response: parsed, Raw: der}
	}
	log := boulderlog.StdoutLogger(info)
	source, err := boulder.NewMemorySource(known, log)
	if err != nil {
		return nil, err
	}
	return httpServe(boulder.NewResponder(source, 5*time.Second, prometheus.NewRegistry(), log, 0)), nil
}
