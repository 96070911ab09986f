package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"rfc6455.example/websocket"
)

// A welcome has to fit into a queue, whatever has been typed.
const (
	maxMembers = 1000
	maxName    = 24                     // characters
	kept       = 50                     // messages, for those who come later
	betweenTwo = 100 * time.Millisecond // messages of a member, at least
)

// An event is what the page is told. What a member says comes from the page as
// a plain text message.
type event struct {
	Event    string   `json:"event"` // welcome, joined, left or said
	ID       string   `json:"id,omitempty"`
	Name     string   `json:"name"`
	Text     string   `json:"text,omitempty"`
	At       int64    `json:"at,omitempty"`       // ms since 1970
	People   []string `json:"people,omitempty"`   // in a welcome, in the order of their coming
	Messages []event  `json:"messages,omitempty"` // in a welcome, the latest that were said
}

// A member is one who is in the room.
type member struct {
	conn *websocket.Conn
	name string
}

// A room is where everyone hears everyone. Each member has one goroutine, which
// reads. None writes: whoever has something to tell enqueues it for all, which
// never blocks, so that it may be done with the lock held. All members thus get
// all events in the same order, and a slow one delays nobody.
type room struct {
	epoch string // tells the ids of one run from those of the next

	mu      sync.Mutex
	members []*member
	said    []event // the latest
	count   int
}

func newRoom() *room {
	return &room{epoch: fmt.Sprintf("%x", time.Now().UnixNano())}
}

// serve has a member in the room until the connection ends.
func (r *room) serve(c *websocket.Conn, name string) {
	defer c.CloseNow()
	m := r.join(c, name)
	if m == nil {
		c.CloseWithStatus(websocket.StatusTryAgainLater, "the room is full")
		return
	}
	defer r.leave(m)
	var buf []byte // one for all messages
	for {
		op, p, err := c.ReadMessage(buf[:0])
		if err != nil {
			return // why is in the log
		}
		buf = p
		if op != websocket.OpText {
			c.CloseWithStatus(websocket.StatusUnsupportedData, "text only")
			return
		}
		if text := strings.TrimSpace(string(p)); text != "" {
			r.say(m, text)
		}
		// Who talks too fast is read more slowly. Keepalive does not mind.
		time.Sleep(betweenTwo)
	}
}

// join lets a member in, under a name that nobody else has. It returns nil where
// the room is full.
func (r *room) join(c *websocket.Conn, wanted string) *member {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.members) == maxMembers {
		return nil
	}
	wanted = cleanName(wanted)
	m := &member{c, wanted}
	for n := 2; slices.Contains(r.names(), m.name); n++ {
		m.name = fmt.Sprintf("%s %d", wanted, n)
	}
	r.tell(event{Event: "joined", Name: m.name}, r.members...)
	r.members = append(r.members, m)
	r.tell(event{Event: "welcome", Name: m.name, People: r.names(), Messages: r.said}, m)
	return m
}

func (r *room) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = slices.DeleteFunc(r.members, func(other *member) bool { return other == m })
	r.tell(event{Event: "left", Name: m.name}, r.members...)
}

func (r *room) say(m *member, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	e := event{Event: "said", ID: fmt.Sprint(r.epoch, "-", r.count), Name: m.name, Text: text, At: time.Now().UnixMilli()}
	if r.said = append(r.said, e); len(r.said) > kept {
		r.said = slices.Delete(r.said, 0, 1)
	}
	r.tell(e, r.members...)
}

// tell sends an event to members, encoded once for all of them. A member whose
// queue is full, such as a tab that was frozen, is dropped: its reading ends,
// it leaves the room, and its page comes back when it can. The caller holds mu.
func (r *room) tell(e event, to ...*member) {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // an event is strings and numbers
	}
	msg, err := websocket.NewPreparedMessage(websocket.OpText, text)
	if err != nil {
		panic(err) // JSON is UTF-8
	}
	for _, m := range to {
		// After any other error the connection is ending, and its reader knows.
		if m.conn.Enqueue(msg) == websocket.ErrQueueFull {
			m.conn.CloseNow() // never waits either
		}
	}
}

func (r *room) names() []string {
	names := make([]string, 0, len(r.members))
	for _, m := range r.members {
		names = append(names, m.name)
	}
	return names
}

// cleanName makes a name of what somebody has typed.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if runes := []rune(s); len(runes) > maxName {
		s = string(runes[:maxName])
	}
	if s = strings.TrimSpace(s); s == "" {
		return "Guest"
	}
	return s
}
