package websocket

import (
	"strings"
	"testing"
)

func extensionList(t testing.TB, line string) []extension {
	t.Helper()
	list, ok := parseExtensions([]string{line})
	if !ok {
		t.Fatalf("%q does not follow the grammar", line)
	}
	return list
}

// TestAcceptOffer has offers and what a server responds to them. The sections
// are those of RFC 7692.
func TestAcceptOffer(t *testing.T) {
	const both = "; server_no_context_takeover; client_no_context_takeover"
	none, takeover := Compression{}, Compression{ContextTakeover: true}
	ten := Compression{ContextTakeover: true, WindowBits: 10}
	for _, test := range []struct {
		section string
		options Compression
		offers  string
		want    string // after the name; - where all are declined
	}{
		{"7", none, "permessage-deflate", both},
		{"7", takeover, "permessage-deflate", ""},
		{"7", takeover, "permessage-deflate; x", "-"},
		{"7", takeover, "permessage-deflate; server_max_window_bits=10; x=1", "-"},
		{"7", takeover, "permessage-deflate; server_no_context_takeover; server_no_context_takeover", "-"},
		{"7", takeover, "permessage-deflate; client_max_window_bits; client_max_window_bits=10", "-"},
		{"7", takeover, "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", "-"},

		{"7.1.1.1", takeover, "permessage-deflate; server_no_context_takeover", "; server_no_context_takeover"},
		{"7.1.1.1", takeover, "permessage-deflate; server_no_context_takeover=1", "-"},
		{"7.1.1.1", takeover, `permessage-deflate; server_no_context_takeover="true"`, "-"},
		{"7.1.1.2", takeover, "permessage-deflate; client_no_context_takeover", "; client_no_context_takeover"},
		{"7.1.1.2", takeover, "permessage-deflate; client_no_context_takeover=1", "-"},
		{"7.1.1.2", takeover, "permessage-deflate" + both, both},

		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=8", "; server_max_window_bits=8"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=10", "; server_max_window_bits=10"},
		{"7.1.2.1", takeover, `permessage-deflate; server_max_window_bits="10"`, "; server_max_window_bits=10"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=15", "; server_max_window_bits=15"},
		{"7.1.2.1", none, "permessage-deflate; server_max_window_bits=9", both + "; server_max_window_bits=9"},
		{"7.1.2.1", ten, "permessage-deflate; client_max_window_bits; server_max_window_bits=9", "; server_max_window_bits=9; client_max_window_bits=10"},
		{"7.1.2.1", ten, "permessage-deflate; client_max_window_bits; server_max_window_bits=12", "; server_max_window_bits=10; client_max_window_bits=10"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits", "-"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=7", "-"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=16", "-"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=08", "-"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=010", "-"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=+9", "-"},
		{"7.1.2.1", takeover, "permessage-deflate; server_max_window_bits=ten", "-"},

		{"7.1.2.2", takeover, "permessage-deflate; client_max_window_bits", ""},
		{"7.1.2.2", takeover, "permessage-deflate; client_max_window_bits=15", "; client_max_window_bits=15"},
		{"7.1.2.2", takeover, "permessage-deflate; client_max_window_bits=8", "; client_max_window_bits=8"},
		{"7.1.2.2", ten, "permessage-deflate; client_max_window_bits", "; server_max_window_bits=10; client_max_window_bits=10"},
		{"7.1.2.2", ten, "permessage-deflate; client_max_window_bits=9", "; server_max_window_bits=10; client_max_window_bits=9"},
		{"7.1.2.2", ten, "permessage-deflate; client_max_window_bits=12", "; server_max_window_bits=10; client_max_window_bits=10"},
		{"7.1.2.2", ten, "permessage-deflate", "; client_no_context_takeover; server_max_window_bits=10"},
		{"7.1.2.2", takeover, "permessage-deflate; client_max_window_bits=7", "-"},
		{"7.1.2.2", takeover, "permessage-deflate; client_max_window_bits=16", "-"},
		{"7.1.2.2", takeover, `permessage-deflate; client_max_window_bits="09"`, "-"},

		{"5.1", takeover, "foo", "-"},
		{"5.1", takeover, "xpermessage-deflatex, permessage-deflat", "-"},
		{"5.1", takeover, "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits", ""},
		{"5.2", takeover, "permessage-deflate; server_max_window_bits=10; client_max_window_bits, permessage-deflate", "; server_max_window_bits=10"},
		{"5.2", takeover, "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_no_context_takeover", "; server_no_context_takeover"},
	} {
		got := "-"
		if r := test.options.accept(extensionList(t, test.offers)); r != nil {
			got = strings.TrimPrefix(r.String(), "permessage-deflate")
		}
		if got != test.want {
			t.Errorf("%s: %q with %+v: the response is %q, want %q", test.section, test.offers, test.options, got, test.want)
		}
	}
	if none.accept(nil) != nil {
		t.Error("something was accepted where nothing was offered")
	}
}

// TestCheckAccepted has offers and responses, and what both ends make of those
// that are permitted. The sections are those of RFC 7692.
func TestCheckAccepted(t *testing.T) {
	const noTakeover = "server_no_context_takeover; client_no_context_takeover"
	none, takeover := Compression{}, Compression{ContextTakeover: true}
	ten := Compression{ContextTakeover: true, WindowBits: 10}
	for _, test := range []struct {
		section     string
		options     Compression
		offer       string // after the name
		response    string
		refused     string // a part of why, or else
		write, read direction
	}{
		{section: "7", options: none, offer: noTakeover + "; client_max_window_bits",
			response: "permessage-deflate; server_no_context_takeover", write: direction{false, 15}, read: direction{false, 15}},
		{section: "7", options: none, offer: noTakeover + "; client_max_window_bits",
			response: "permessage-deflate; client_max_window_bits=9; " + noTakeover, write: direction{false, 9}, read: direction{false, 15}},
		{section: "7", options: takeover, offer: "client_max_window_bits",
			response: "permessage-deflate", write: direction{true, 15}, read: direction{true, 15}},
		{section: "7", options: takeover, response: "permessage-deflate; x", refused: "unknown"},
		{section: "7", options: takeover, response: "permessage-deflate; client_no_context_takeover; client_no_context_takeover", refused: "doubled"},
		{section: "5.1", options: takeover, response: "foo", refused: `"foo"`},
		{section: "5.1", options: takeover, response: "permessage-deflate, foo", refused: `"foo"`},
		{section: "5.1", options: takeover, response: "permessage-deflate, permessage-deflate", refused: "more than once"},
		{section: "7.1.1.1", options: takeover, response: "permessage-deflate; server_no_context_takeover", write: direction{true, 15}, read: direction{false, 15}},
		{section: "7.1.1.1", options: takeover, response: "permessage-deflate; server_no_context_takeover=1", refused: "invalid"},
		{section: "7.1.1.1", options: none, response: "permessage-deflate", refused: "server_no_context_takeover"},
		{section: "7.1.1.2", options: takeover, response: "permessage-deflate; client_no_context_takeover", write: direction{false, 15}, read: direction{true, 15}},
		{section: "7.1.2.1", options: takeover, response: "permessage-deflate; server_max_window_bits=8", write: direction{true, 15}, read: direction{true, 8}},
		{section: "7.1.2.1", options: takeover, response: "permessage-deflate; server_max_window_bits", refused: "invalid"},
		{section: "7.1.2.1", options: takeover, response: "permessage-deflate; server_max_window_bits=16", refused: "invalid"},
		{section: "7.1.2.1", options: takeover, response: "permessage-deflate; server_max_window_bits=7", refused: "invalid"},
		{section: "7.1.2.1", options: ten, offer: "server_max_window_bits=10; client_max_window_bits=10",
			response: "permessage-deflate; server_max_window_bits=10", write: direction{true, 10}, read: direction{true, 10}},
		{section: "7.1.2.1", options: ten, response: "permessage-deflate; server_max_window_bits=8; client_max_window_bits=9", write: direction{true, 9}, read: direction{true, 8}},
		{section: "7.1.2.1", options: ten, response: "permessage-deflate; server_max_window_bits=11", refused: "server_max_window_bits"},
		{section: "7.1.2.1", options: ten, response: "permessage-deflate", refused: "server_max_window_bits"},
		{section: "7.1.2.2", options: takeover, response: "permessage-deflate; client_max_window_bits=8", write: direction{true, 8}, read: direction{true, 15}},
		{section: "7.1.2.2", options: takeover, response: "permessage-deflate; client_max_window_bits", refused: "invalid"},
		{section: "7.1.2.2", options: takeover, response: "permessage-deflate; client_max_window_bits=08", refused: "invalid"},
		{section: "7.1.2.2", options: ten, response: "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11", refused: "larger"},
	} {
		offer := test.options.offer()
		if got := offer.String(); test.offer != "" && got != "permessage-deflate; "+test.offer {
			t.Errorf("%+v: the offer is %q, want %q", test.options, got, test.offer)
		}
		r, err := checkAccepted(offer, extensionList(t, test.response))
		if test.refused != "" {
			if err == nil || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: %q to %q: %v, want it refused because of %s", test.section, test.response, offer, err, test.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %q to %q was refused: %v", test.section, test.response, offer, err)
			continue
		}
		if write, read := test.options.agreed(*r, true); write != test.write || read != test.read {
			t.Errorf("%s: after %q the client writes with %v and reads with %v, want %v and %v",
				test.section, test.response, write, read, test.write, test.read)
		}
	}
	// A window for the client that was not offered (7.1.2.2).
	if _, err := checkAccepted(new(deflateParams), extensionList(t, "permessage-deflate; client_max_window_bits=10")); err == nil {
		t.Error("7.1.2.2: client_max_window_bits was taken without having been offered")
	}
}

// TestNegotiation lets our client and our server negotiate with all options.
// Whatever a side writes with, the other one can read.
func TestNegotiation(t *testing.T) {
	var all []Compression
	for _, takeover := range []bool{false, true} {
		for _, bits := range []int{-1, 0, 8, 9, 12, 15, 99} {
			all = append(all, Compression{ContextTakeover: takeover, WindowBits: bits})
		}
	}
	for _, client := range all {
		for _, server := range all {
			offer := client.offer()
			response := server.accept(extensionList(t, offer.String()))
			if response == nil {
				t.Fatalf("%q was declined by %+v", offer, server)
			}
			r, err := checkAccepted(offer, extensionList(t, response.String()))
			if err != nil {
				t.Fatalf("%q was refused as response to %q: %v", response, offer, err)
			}
			clientWrites, clientReads := client.agreed(*r, true)
			serverWrites, serverReads := server.agreed(*response, false)
			for _, d := range []struct{ write, read direction }{{clientWrites, serverReads}, {serverWrites, clientReads}} {
				if d.write.takeover && !d.read.takeover || d.write.windowBits > d.read.windowBits {
					t.Errorf("%q, %q: written with %v, read with %v", offer, response, d.write, d.read)
				}
			}
			for _, o := range []struct {
				options     Compression
				write, read direction
			}{{client, clientWrites, clientReads}, {server, serverWrites, serverReads}} {
				if !o.options.ContextTakeover && (o.write.takeover || o.read.takeover) {
					t.Errorf("%q, %q: context is kept against %+v", offer, response, o.options)
				}
				if bits := o.options.windowBits(); o.write.windowBits > bits || o.read.takeover && o.read.windowBits > bits {
					t.Errorf("%q, %q: windows of %v and %v, want at most %d bits", offer, response, o.write, o.read, bits)
				}
			}
		}
	}
}

func TestCompressionDefaults(t *testing.T) {
	for _, test := range []struct {
		options                                   Compression
		level, bits, threshold, takeoverThreshold int
	}{
		{Compression{}, defaultLevel, 15, 256, 32},
		{Compression{Level: 1, WindowBits: 8, Threshold: 1}, 1, 8, 1, 1},
		{Compression{Level: 9, WindowBits: 15, Threshold: 5000}, 9, 15, 5000, 5000},
		{Compression{Level: 10, WindowBits: 16, Threshold: -1}, defaultLevel, 15, 0, 0},
		{Compression{Level: -2, WindowBits: 7, Threshold: -5}, defaultLevel, 8, 0, 0},
	} {
		o := &test.options
		if o.level() != test.level || o.windowBits() != test.bits || o.threshold(false) != test.threshold || o.threshold(true) != test.takeoverThreshold {
			t.Errorf("%+v means level %d, %d bits, threshold %d and %d with takeover, want %d, %d, %d and %d", *o,
				o.level(), o.windowBits(), o.threshold(false), o.threshold(true), test.level, test.bits, test.threshold, test.takeoverThreshold)
		}
	}
}
