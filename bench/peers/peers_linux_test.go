package peers_test

import (
	"bytes"
	"net"
	"testing"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

// Every peer's server echoes small and large messages, several in flight, in
// text and binary, byte for byte.
func TestServersEcho(t *testing.T) {
	for _, p := range peers.All() {
		if p.Serve == nil {
			continue // a program of its own
		}
		t.Run(p.Name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go p.Serve(ln)
			for _, size := range []int{1, 125, 126, 1 << 16, 1 << 20} {
				for _, payload := range []load.Payload{load.Binary, load.Mixed} {
					e, err := load.NewEcho(load.Options{
						Addr: ln.Addr().String(), Conns: 3, InFlight: 4,
						Size: size, Payload: payload, Raw: p.Kind == peers.Limit,
					})
					if err != nil {
						t.Fatal(err)
					}
					// The second time goes on where the first has ended.
					for range 2 {
						if err := e.Verify(); err != nil {
							t.Errorf("%d bytes, %s: %v", size, payload, err)
							break
						}
					}
					e.Close()
				}
			}
		})
	}
}

// Every style that compresses agrees to its mode, and echoes what can be
// inflated to what was sent.
func TestServersDeflate(t *testing.T) {
	for _, p := range peers.All() {
		if p.Serve == nil || p.Deflate == peers.NotCompressed {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go p.Serve(ln)
			e, err := load.NewDeflateEcho(ln.Addr().String(), 3, 1<<10, p.Deflate == peers.Takeover)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			for range 2 {
				if err := e.Verify(); err != nil {
					t.Fatal(err)
				}
			}
			if n, wire := e.Answered(); wire > n*int64(e.Size())/2 {
				t.Errorf("%d replies had %d bytes on the wire, want less than half of what they say", n, wire)
			}
		})
	}
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range peers.All() {
		if seen[p.Name] {
			t.Errorf("two peers are called %s", p.Name)
		}
		seen[p.Name] = true
	}
}

// The masking functions that are reached past their packages' doors are what
// they are taken for.
func TestMasks(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for _, p := range peers.Masks() {
		for _, size := range []int{0, 1, 3, 4, 7, 8, 31, 63, 64, 65, 129, 1000, 5003} {
			for shift := range 3 {
				b := make([]byte, shift+size+1)
				for i := range b {
					b[i] = byte(i * 7)
				}
				want := bytes.Clone(b)
				for i := range size {
					want[shift+i] ^= key[i&3]
				}
				p.Mask(b[shift:shift+size], key)
				if !bytes.Equal(b, want) {
					t.Errorf("%s does not mask %d bytes at offset %d as section 5.3 says", p.Name, size, shift)
				}
			}
		}
	}
}
