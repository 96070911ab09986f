package peers

import "net"

var tcpPeers = []*Peer{{
	Name: "tcp", Style: "plain TCP echo, no WebSocket",
	Kind: Limit,
	Serve: func(ln net.Listener) error {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return err
			}
			go tcpEcho(nc)
		}
	},
}}

// tcpEcho copies by hand, since io.Copy would leave it all to the kernel.
func tcpEcho(nc net.Conn) {
	defer nc.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		if _, err := nc.Write(buf[:n]); err != nil {
			return
		}
	}
}
