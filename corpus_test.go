package websocket

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// A corpus makes JSON messages as applications send them: few kinds, in which
// the names of the fields are always the same, and ids, times, numbers and
// words that vary. The same seed makes the same messages.
type corpus struct {
	r    *rand.Rand
	id   uint64
	time time.Time
}

func newCorpus(seed uint64) *corpus {
	return &corpus{
		r:    rand.New(rand.NewPCG(seed, 7692)),
		id:   48_210_000 + seed,
		time: time.Date(2026, 11, 3, 8, 30, 0, 0, time.UTC),
	}
}

var (
	corpusNames = []string{
		"Amara Okafor", "Bruno Keller", "Chen Wei", "Dilnoza Karimova", "Elif Yıldız", "Farid Haddad",
		"Greta Lindqvist", "Hiro Tanaka", "Inês Carvalho", "Jakub Nowak", "Kavita Rao", "Liam O'Connor",
		"Marta Ruiz", "Nils Ødegård", "Olga Petrova", "Priya Nair", "Quentin Dubois", "Rosa Marchetti",
	}
	corpusWords = []string{
		"the", "order", "has", "left", "our", "warehouse", "and", "should", "reach", "you", "before", "Friday",
		"please", "check", "whether", "this", "works", "with", "new", "build", "I", "will", "look", "at", "it",
		"tomorrow", "morning", "thanks", "for", "quick", "answer", "meeting", "moved", "to", "room", "four",
		"nobody", "seems", "know", "why", "sensor", "reports", "twice", "same", "value", "after", "restart",
	}
	corpusSymbols  = []string{"BTC-EUR", "ETH-EUR", "SOL-USD", "ADA-USD", "XRP-EUR", "DOT-USD", "LTC-EUR", "AVAX-USD"}
	corpusStatuses = []string{"pending", "confirmed", "shipped", "delivered", "cancelled", "returned"}
	corpusRegions  = []string{"eu-central-1", "eu-west-2", "us-east-1", "ap-south-1"}
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

func (c *corpus) nextID() uint64 {
	c.id += 1 + c.r.Uint64N(900)
	return c.id
}

func (c *corpus) now() string {
	c.time = c.time.Add(time.Duration(1+c.r.IntN(4000)) * time.Millisecond)
	return c.time.Format("2006-01-02T15:04:05.000Z")
}

func (c *corpus) text(words int) string {
	var b []byte
	for i := range words {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, pick(c.r, corpusWords)...)
	}
	return string(b)
}

func (c *corpus) number(limit float64, digits int) string {
	return strconv.FormatFloat(c.r.Float64()*limit, 'f', digits, 64)
}

// item appends one element of a message of the given kind.
func (c *corpus) item(b []byte, kind int) []byte {
	r := c.r
	switch kind {
	case 0: // chat
		b = fmt.Appendf(b, `{"id":"%08x-%04x-4%03x","author":{"id":%d,"name":%q,"online":%t},"sent":%q,"text":%q`,
			r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), 1000+r.IntN(9000), pick(r, corpusNames), r.IntN(2) == 0,
			c.now(), c.text(4+r.IntN(14)))
		if r.IntN(3) == 0 {
			b = fmt.Appendf(b, `,"reply_to":%d`, c.nextID())
		}
		return append(b, '}')
	case 1: // prices
		return fmt.Appendf(b, `{"symbol":%q,"bid":%s,"ask":%s,"last":%s,"volume":%s,"change":-%s,"trade_id":%d,"time":%q}`,
			pick(r, corpusSymbols), c.number(70000, 2), c.number(70000, 2), c.number(70000, 2),
			c.number(900, 6), c.number(5, 3), c.nextID(), c.now())
	case 2: // orders
		return fmt.Appendf(b, `{"order_id":%d,"customer":%q,"status":%q,"total":%s,"currency":"EUR","items":%d,"express":%t,"note":%q,"updated_at":%q}`,
			c.nextID(), pick(r, corpusNames), pick(r, corpusStatuses), c.number(900, 2), 1+r.IntN(12), r.IntN(4) == 0,
			c.text(r.IntN(7)), c.now())
	default: // measurements
		return fmt.Appendf(b, `{"device":"sensor-%04d","region":%q,"temperature":%s,"humidity":%s,"battery":%d,"rssi":-%d,"ok":%t}`,
			r.IntN(4000), pick(r, corpusRegions), c.number(40, 2), c.number(100, 1), r.IntN(101), 30+r.IntN(70), r.IntN(20) > 0)
	}
}

// message returns a message of about size bytes, at least one element.
func (c *corpus) message(size int) []byte {
	kind := c.r.IntN(4)
	name := [...]string{"chat.history", "market.prices", "orders.changed", "telemetry.batch"}[kind]
	b := fmt.Appendf(nil, `{"type":%q,"seq":%d,"time":%q,"data":[`, name, c.nextID(), c.now())
	for first := true; first || len(b) < size-90; first = false {
		if !first {
			b = append(b, ',')
		}
		b = c.item(b, kind)
	}
	return append(b, "]}"...)
}

// messages returns n messages of about size bytes.
func (c *corpus) messages(n, size int) [][]byte {
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = c.message(size)
	}
	return messages
}

// corpusNoise returns size bytes that cannot be compressed.
func corpusNoise(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1951))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
