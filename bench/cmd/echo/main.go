// Command echo runs the echo server of one peer:
//
//	go run ./cmd/echo -peer gorilla -addr :9101
//
// Every path is the WebSocket endpoint. The server says "listening on ADDRESS"
// on standard output when it is ready. The line "collect" on standard input
// makes it give unused memory back to the system and answer "collected".
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"runtime/debug"

	"rfc6455.example/websocket/bench/peers"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("echo: ")
	name := flag.String("peer", "", "library and style; -list shows them")
	addr := flag.String("addr", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	list := flag.Bool("list", false, "list the peers")
	flag.Parse()
	if *list {
		for _, p := range peers.All() {
			fmt.Printf("%-16s %s\n", p.Name, p.Style)
		}
		return
	}
	p, err := peers.Find(*name)
	if err != nil {
		log.Fatal(err)
	}
	if p.Command != nil {
		argv, err := p.Command(*addr)
		if err == nil {
			err = become(argv)
		}
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", ln.Addr())
	go answer()
	log.Fatal(p.Serve(ln))
}

func answer() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() != "collect" {
			continue
		}
		// A stack is halved by a collection at most, and what a pool has
		// dropped is gone after the second.
		for range 3 {
			runtime.GC()
		}
		debug.FreeOSMemory()
		fmt.Println("collected")
	}
}
