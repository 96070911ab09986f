package websocket

import "encoding/json"

// ReadJSON reads the next message, text or binary, and decodes it into v as
// [json.Unmarshal] does. A message that is no JSON is gone, and the connection
// unharmed.
func (c *Conn) ReadJSON(v any) error {
	_, p, err := c.ReadMessage(nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(p, v)
}

// WriteJSON sends the JSON encoding of v, as [json.Marshal] makes it, as a text
// message.
func (c *Conn) WriteJSON(v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.WriteMessage(OpText, p)
}
