package websocket

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// The documents that compressed messages are cut from, always the same ones.
// In kind and length they resemble those that the Autobahn testsuite has for
// it; what is in them is made up here. Those that are sent as text are ASCII,
// so that they can be cut anywhere.
var documents = map[string]func() []byte{
	"json":     sync.OnceValue(func() []byte { return makeDocument(1, 194056, jsonRecord) }),
	"bitmap":   sync.OnceValue(makeBitmap),
	"tale":     sync.OnceValue(func() []byte { return makeDocument(3, 222218, talePassage) }),
	"html":     sync.OnceValue(func() []byte { return makeDocument(4, 263527, htmlSection) }),
	"document": sync.OnceValue(func() []byte { return makeDocument(5, 1042328, documentObject) }),
}

// makeDocument returns size bytes of what part appends again and again.
func makeDocument(seed uint64, size int, part func(b []byte, r *rand.Rand) []byte) []byte {
	r := rand.New(rand.NewPCG(7692, seed))
	b := make([]byte, 0, size+64<<10)
	for len(b) < size {
		b = part(b, r)
	}
	return b[:size:size]
}

// The most frequent words come first.
var documentWords = strings.Fields(`the and of to a in that it was he his with as I her for had you not be is on
	at she but by which him have from this all they were so my would said one what when there no if or their an
	we who them been has will me more up out into some your do then could now little other old time over house
	water night long hand door nothing again never under light street morning voice garden winter letter window
	silence between brother journey evening mountain candle harbour whisper stranger orchard remembered lantern
	forgotten twilight carriage threshold astonished melancholy improbable`)

// documentWord returns a word, the first ones of the list far more often than
// the last.
func documentWord(r *rand.Rand) string {
	return documentWords[int(float64(len(documentWords))*r.Float64()*r.Float64()*r.Float64())]
}

func jsonRecord(b []byte, r *rand.Rand) []byte {
	return fmt.Appendf(b, `{
  "id": "%08x%08x",
  "name": "%s %s",
  "active": %t,
  "balance": "%d.%02d",
  "location": { "latitude": %.6f, "longitude": %.6f },
  "tags": [ "%s", "%s", "%s" ],
  "about": "%s %s %s %s %s %s %s"
},
`, r.Uint32(), r.Uint32(), documentWord(r), documentWord(r), r.IntN(2) == 0, r.IntN(5000), r.IntN(100),
		r.Float64()*180-90, r.Float64()*360-180, documentWord(r), documentWord(r), documentWord(r),
		documentWord(r), documentWord(r), documentWord(r), documentWord(r), documentWord(r), documentWord(r), documentWord(r))
}

func talePassage(b []byte, r *rand.Rand) []byte {
	for column, words := 0, 5+r.IntN(12); words > 0; words-- {
		w := documentWord(r)
		if column += len(w) + 1; column > 70 {
			b, column = append(b, '\n'), 0
		}
		b = append(append(b, w...), ' ')
	}
	b[len(b)-1] = ".,;!?"[r.IntN(5)]
	return append(b, '\n')
}

func htmlSection(b []byte, r *rand.Rand) []byte {
	b = fmt.Appendf(b, "<section class=\"%s\" id=\"s%d\">\n\t<h2><a href=\"/%s/%d.html\">%s</a></h2>\n\t<p>", documentWord(r), r.IntN(1e6), documentWord(r), r.IntN(1e4), documentWord(r))
	b = talePassage(b, r)
	b = append(b, "</p>\n\t<table>\n"...)
	for range 1 + r.IntN(4) {
		b = fmt.Appendf(b, "\t\t<tr><td>%d</td><td style=\"color: #%06x\">%s</td></tr>\n", r.IntN(1000), r.IntN(1<<24), documentWord(r))
	}
	return append(b, "\t</table>\n</section>\n"...)
}

// documentObject is text, and then what cannot be compressed any further, as
// in a PDF.
func documentObject(b []byte, r *rand.Rand) []byte {
	size := 500 + r.IntN(20_000)
	b = fmt.Appendf(b, "%d 0 obj\n<< /Length %d /Filter /FlateDecode >>\nstream\n", r.IntN(1e5), size)
	for range size {
		b = append(b, byte(r.Uint32()))
	}
	return append(b, "\nendstream\nendobj\n"...)
}

// makeBitmap returns a picture of 512 by 512 grey pixels: areas in which each
// is about as bright as its neighbours, and some noise.
func makeBitmap() []byte {
	r := rand.New(rand.NewPCG(7692, 2))
	b := append([]byte("BM"), make([]byte, 52)...)
	for i := range 256 {
		b = append(b, byte(i), byte(i), byte(i), 0)
	}
	row := make([]int, 512)
	for range 512 {
		for x := range row {
			left := row[max(0, x-1)]
			row[x] = min(max((row[x]*3+left*3+r.IntN(13))/6+r.IntN(2), 0), 255)
			if r.IntN(4000) == 0 {
				row[x] = r.IntN(256)
			}
			b = append(b, byte(row[x]))
		}
	}
	return b
}
