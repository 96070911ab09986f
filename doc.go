// Package websocket implements the WebSocket protocol, RFC 6455, for servers
// and clients.
//
// # Server
//
// [Upgrade] answers the opening handshake on any net/http server and returns a
// [Conn]. A server that sends every message back:
//
//	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
//		c, err := websocket.Upgrade(w, r)
//		if err != nil {
//			return // the client has been told
//		}
//		defer c.CloseNow()
//		for op, buf, err := c.ReadMessage(nil); err == nil; op, buf, err = c.ReadMessage(buf[:0]) {
//			c.WriteMessage(op, buf)
//		}
//	})
//
// Browsers are held to the same origin unless an [Upgrader] says otherwise,
// which also sets limits, timeouts and subprotocols.
//
// # Client
//
// [Dial] opens a connection; a [Dialer] has the options.
//
//	c, _, err := websocket.Dial(ctx, "wss://example.com/chat")
//	if err != nil {
//		return err
//	}
//	defer c.CloseNow()
//	if err := c.WriteMessage(websocket.OpText, []byte("hello")); err != nil {
//		return err
//	}
//	_, reply, err := c.ReadMessage(nil)
//	fmt.Printf("%s\n", reply)
//	return c.Close()
//
// A Dialer goes through proxies, keeps cookies and follows redirects, as it is
// told; [Backoff] has the delays of a client that connects again. With GOOS=js
// the connection is one of the browser's.
//
// # Reading
//
// [Conn.ReadMessage] returns a message whole and [Conn.NextReader] as a stream.
// Text is checked as it arrives (section 8.1) and messages are bounded by the
// read limit, 1 MiB unless set. A read deadline may strike anywhere, inside a
// frame's header too: nothing is lost, and the next read goes on from there.
// A context stops a read with
//
//	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
//	defer stop()
//
// A connection that is waiting for its next message holds no buffer. To give
// up net/http's own memory for the connection as well, return from the handler
// after Upgrade and go on in a goroutine of your own.
//
// # Somebody has to read
//
// Pings and Closes from the peer are answered by the goroutine that reads, when
// it reaches them. A connection that only writes therefore still needs
// somebody to read, OR NO PING, NO CLOSE AND NO PONG IS EVER SEEN. Where no
// message is expected this will do, in a goroutine of its own:
//
//	for err == nil {
//		_, _, err = c.NextReader()
//	}
//
// # Writing
//
// [Conn.WriteMessage] may be called by any number of goroutines at a time;
// [Conn.NextWriter] streams one message while others wait. A message that was
// accepted is sent without any further call. Where many messages have arrived
// at once, the replies to them are held together for at most a millisecond and
// leave in one system call; none is held once reading has caught up.
//
// A write deadline that strikes is final, since a frame that was cut cannot be
// mended. A peer that stops reading holds writers until a deadline or the
// WriteTimeout of the Upgrader or Dialer ends the connection; reading goes on
// meanwhile, since it never waits for writing.
//
// # Compression
//
// A [Compression] in the Upgrader or Dialer turns on permessage-deflate (RFC
// 7692) where the peer agrees to it, for messages in both directions:
//
//	u := &websocket.Upgrader{Compression: &websocket.Compression{}}
//
// Nothing else changes: messages are inflated as they are read, within the read
// limit, and compressed as they are written. A [PreparedMessage] is compressed
// once for all connections that compress alike.
//
// # Closing
//
// [Conn.Close] performs the closing handshake (section 7) within the close
// timeout, [Conn.CloseNow] drops the connection at once. When the peer closes,
// reads return a *[CloseError] with its status code, and the library has
// answered:
//
//	if errors.Is(err, &websocket.CloseError{Code: websocket.StatusGoingAway}) { ... }
//
// A peer that breaks the protocol is told so with the status code that section
// 7.4.1 has for it, and reads return a *[ProtocolError]. Once reading or
// writing has failed for good, every later call returns the same error:
//
//	what happened                  a read returns              a write returns
//	the peer closed                *CloseError                 Is net.ErrClosed
//	it broke without a Close       *CloseError, code 1006      the same
//	no answer to keepalive         *CloseError, code 1006,     the same
//	                               Is ErrPeerSilent
//	the peer broke the protocol    *ProtocolError              Is net.ErrClosed
//	we closed                      Is net.ErrClosed            Is net.ErrClosed
//	a write deadline               *CloseError, code 1006      Is os.ErrDeadlineExceeded
//	a read deadline                Is os.ErrDeadlineExceeded,  unaffected
//	                               and the next read goes on
//
// # Many connections
//
// A server with many connections that live long sets PingInterval, which finds
// out about clients that have vanished, and WriteTimeout, which ends connections
// whose clients do not read. It sends to all with [Conn.Enqueue], which never
// waits, so that no goroutine is needed for each of them to write and a slow
// client delays nobody. [Conn.Ping] tells that a client has received what was
// sent. In the end [Upgrader.Shutdown] closes them all. The program
// examples/chat shows these together.
//
// # The wire
//
// [FrameHeader], [ParseFrameHeader], [Mask] and [AcceptKey] are the protocol as
// pure functions, for proxies, tools and tests.
package websocket
