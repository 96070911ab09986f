//go:build !js

package websocket

import (
	"context"
	"net/http"
)

// attempt makes one connection, and the opening handshake on it.
func (d *Dialer) attempt(ctx context.Context, req *http.Request) (*Conn, *http.Response, error) {
	proxy, err := d.proxyFor(ctx, req)
	if err != nil {
		return nil, nil, dialError(ctx, err)
	}
	raw, leave, err := d.connect(ctx, hostPort(req.URL), proxy)
	if err != nil {
		return nil, nil, dialError(ctx, err)
	}
	defer leave()
	// The end of the context closes the connection: that stops any read or
	// write on it, with deadlines or without.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	nc, resp, cfg, err := d.handshake(ctx, raw, proxy, req)
	if !stop() && err == nil {
		resp, err = nil, ctx.Err() // too late: raw has been closed or is about to be
	}
	if err != nil {
		raw.Close() // not nc: closing TLS may wait for its alert to go out
		return nil, resp, dialError(ctx, err)
	}
	return newConn(nc, cfg), resp, nil
}
