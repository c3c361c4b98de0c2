//go:build !cgo

package main

import (
	"context"
	"fmt"
)

var boulderPeer = peer{name: boulderPost, asks: posts, like: staticPost, launch: func(context.Context, *kit) (*server, error) {
	return nil, fmt.Errorf("%w: boulder wants a C compiler", errAbsent)
}}
