package websocket

import (
	"reflect"
	"strings"
	"testing"
)

// TestParseExtensions has the grammar of section 9.1.
func TestParseExtensions(t *testing.T) {
	param := func(name string) extensionParam { return extensionParam{name: name} }
	valued := func(name, value string) extensionParam { return extensionParam{name, value, true} }
	for _, test := range []struct {
		lines []string
		want  []extension
	}{
		{nil, nil},
		{[]string{"foo"}, []extension{{name: "foo"}}},
		{[]string{"foo", "bar; baz=2"}, []extension{{name: "foo"}, {"bar", []extensionParam{valued("baz", "2")}}}}, // the examples
		{[]string{"foo, bar; baz=2"}, []extension{{name: "foo"}, {"bar", []extensionParam{valued("baz", "2")}}}},
		{[]string{`foo; bar="x"; baz`}, []extension{{"foo", []extensionParam{valued("bar", "x"), param("baz")}}}},
		{[]string{`foo; bar="a\b\1"`}, []extension{{"foo", []extensionParam{valued("bar", "ab1")}}}},
		{[]string{" \tfoo ;\tbar = 1 , baz\t"}, []extension{{"foo", []extensionParam{valued("bar", "1")}}, {name: "baz"}}},
		{[]string{",foo,, bar,"}, []extension{{name: "foo"}, {name: "bar"}}}, // RFC 9110, section 5.6.1
		{[]string{"xpermessage-deflatex"}, []extension{{name: "xpermessage-deflatex"}}},
		{[]string{"foo; a; a=1; a"}, []extension{{"foo", []extensionParam{param("a"), valued("a", "1"), param("a")}}}},
	} {
		if got, ok := parseExtensions(test.lines); !ok || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%q was parsed as %v, %t, want %v", test.lines, got, ok, test.want)
		}
	}
	for _, lines := range [][]string{{""}, {","}, {" , ", ""}} {
		if got, ok := parseExtensions(lines); ok {
			t.Errorf("%q was parsed as %v, want it refused without an extension", lines, got)
		}
	}
	for _, line := range []string{
		"foo bar", "foo;", "foo;;bar", "foo; =1", ";foo", "=", "foo=1", `"foo"`, `foo; "bar"`,
		"foo; bar=", "foo; bar=,", "foo; bar=a b", "foo; bar=a=b", "foo; b(r=1", "f@o", "foo; bar=a@b", "foo\x00", "föo",
		`foo; bar="`, `foo; bar="a`, `foo; bar="a\`, `foo; bar="a\"`, `foo; bar=""`, `foo; bar="a b"`, `foo; bar="a,b"`,
		`foo; bar="a;b"`, `foo; bar="a"b`, `foo; bar="a" b`, `foo; bar=a"b"`,
	} {
		if got, ok := parseExtensions([]string{"good; too", line}); ok {
			t.Errorf("%q was parsed as %v, want it refused", line, got)
		}
	}
}

// FuzzParseExtensions: what is parsed is all there is in the lines, and is
// parsed alike when written again.
func FuzzParseExtensions(f *testing.F) {
	f.Add(`permessage-deflate; client_max_window_bits; server_max_window_bits="10", foo`, "bar;baz=1")
	f.Add(`a; b="\c"`, "")
	f.Fuzz(func(t *testing.T, line1, line2 string) {
		list, ok := parseExtensions([]string{line1, line2})
		if !ok {
			return
		}
		var again []string
		for _, e := range list {
			s := e.name
			for _, p := range e.params {
				s += ";" + p.name
				if p.hasValue {
					s += `="` + p.value + `"`
				}
				if !isToken(p.name) || p.hasValue && !isToken(p.value) {
					t.Fatalf("%q, %q: parameter %v is not made of tokens", line1, line2, p)
				}
			}
			if !isToken(e.name) {
				t.Fatalf("%q, %q: the name %q is not a token", line1, line2, e.name)
			}
			again = append(again, s)
		}
		got, ok := parseExtensions([]string{strings.Join(again, ",")})
		if !ok || !reflect.DeepEqual(got, list) {
			t.Fatalf("%q, %q: %v became %v, %t", line1, line2, list, got, ok)
		}
		both, ok := parseExtensions([]string{line1 + "," + line2})
		if !ok || !reflect.DeepEqual(both, list) {
			t.Fatalf("%q, %q: %v, but in one line %v, %t", line1, line2, list, both, ok)
		}
	})
}
